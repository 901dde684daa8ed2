"""Which labels are wrong: pure functions over arrays, without Ray, torch or files.

    compact.py     a batch's probability matrix -> a few numbers a row
    signals.py     self-confidence, margin, entropy, loss of a row
    confident.py   confident learning: thresholds and joint from sums that merge
    noise.py       noise matrix, and P(label is wrong) from a compact row: suspicion
    neighbors.py   label vote of the nearest other rows
    ridge.py       leave-one-out predictions in closed form, from moments that merge
    fold_ridge.py  ridge by the training's folds, from moments that merge
    views.py       compact rows as views of a pool, in blocks
    dynamics.py    what a row did over the epochs of a training
    suspicion.py   the two together, and several views: the number rows are ranked by
    feedback.py    what people's answers teach about that number
    grams.py       texts as sparse rows of hashed n-grams
    cross_fit.py   out-of-fold ridge on sparse rows, all folds in one solve
    combine.py     several models' predictions into one, weights learned without gold
    calibration.py errors left, reliability, when to stop

Shapes: R rows, C classes, M kept classes, D features. Every suspicion is in
[0, 1] and higher is worse; every other signal says its own direction.
"""
