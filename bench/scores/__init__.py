"""Scores that benchmarks compare with; the product does not use them.

signals.py        self-confidence, margin, loss of a row
confident.py      confident learning: thresholds and joint from sums that merge
neighbors.py      label vote of the nearest other rows
leave_one_out.py  leave-one-out predictions of a ridge in closed form
dynamics.py       what a row did over the epochs of a training
grams.py          texts as sparse rows of hashed n-grams
cross_fit.py      out-of-fold ridge on sparse rows, all folds in one solve
audit.py          errors left, by an audit of rows drawn by unequal chances
"""
