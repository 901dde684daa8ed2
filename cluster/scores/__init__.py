"""Which labels are wrong: pure functions over arrays, without Ray, torch or files.

    compact.py        a batch's probability matrix -> a few numbers a row
    compact_table.py  those numbers as columns of an Arrow table
    entropy.py        how unsure a prediction is
    noise.py          noise matrix, and P(label is wrong) from a compact row
    ridge.py          ridge regression in closed form, from moments that merge
    fold_ridge.py     ridge by the training's folds, from moments that merge
    stacking.py       several models' predictions into one average, weights learned without gold
    ensemble.py       that average over many rows, in blocks
    suspicion.py      the number rows are ranked by: of one model, and of an ensemble
    feedback.py       what people's results teach about that number
    calibration.py    errors left, reliability, when to stop
    errors_left.py    how many errors are left, by answers about other rows
    text_distance.py  distances of a text to a generated one
    tokenizers.py     how BLEU cuts a text into tokens, by its script

Shapes: R rows, C classes, M kept classes, D features. Every suspicion is P(label is wrong), one
minus the label quality score: in [0, 1], higher is worse. Every other signal says its own
direction.
"""
