"""
Choose thresholds without a clean label
=======================================

Cleaners have thresholds, and there is no clean label to choose them by. What does a cross-validated
score on the noisy labels say? Here the truth is known, and three scores can be laid beside it.
"""

# %%
# Eight in ten of the digits' labels are redrawn at random. The papers' mixture tells which are
# wrong; labels whose ``clean_proba`` is above its threshold are kept, and the classifier is
# trained on these.

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from skclean import GMMCleaner, PurifiedClassifier, TransitionCleaner
from skclean.datasets import load_noisy_digits
from skclean.evidence import LeaveOneOutRidge
from skclean.metrics import noise_corrected_scorer, trusted_accuracy_scorer

digits = load_noisy_digits(noise_rate=0.8, random_state=0)
X, X_test, y, _, y_true, y_test = train_test_split(
    digits.data / 16, digits.target_noisy, digits.target, test_size=0.4, random_state=0
)
trusted = np.arange(len(X)) % 8 == 0
y = np.where(trusted, y_true, y)  # One row in eight has been looked at.

# %%
# Three scorers
# -------------
# - ``None``: the accuracy on the noisy labels of the held-out rows. Noise lowers every score, and
#   where it does not favour one candidate, it leaves their order.
# - :func:`~skclean.metrics.noise_corrected_scorer`: the accuracy on the true labels, computed from
#   that on the noisy ones and the transition matrix of the noise. One matrix serves all: a
#   candidate that believes in more noise would be corrected more, and win by it.
# - :data:`~skclean.metrics.trusted_accuracy_scorer`: the accuracy on trusted rows. The mask comes
#   by scikit-learn's metadata routing.

pipe = Pipeline(
    [
        ("clean", GMMCleaner(estimator=LeaveOneOutRidge(kernel="linear"))),
        ("classify", PurifiedClassifier(RidgeClassifier())),
    ]
)
thresholds = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
grid = {"clean__threshold": thresholds}
transition = TransitionCleaner().fit(X, y).transition_matrix_
scorers = {
    "noisy labels": None,
    "noise-corrected": noise_corrected_scorer(transition, classes=np.arange(10)),
    "trusted rows": trusted_accuracy_scorer,
}
searches = {}
for name, scorer in scorers.items():
    routed = scorer is trusted_accuracy_scorer
    with sklearn.config_context(enable_metadata_routing=routed):
        # Where masks are routed, a cleaner must say whether it takes them.
        candidate = clone(pipe)
        if routed:
            candidate["clean"].set_fit_request(trusted=False)
        search = GridSearchCV(candidate, grid, scoring=scorer, cv=5)
        searches[name] = search.fit(X, y, **({"trusted": trusted} if routed else {}))
truth = [pipe.set_params(clean__threshold=t).fit(X, y).score(X_test, y_test) for t in thresholds]

# %%
# What they say
# -------------
# The scores on noisy labels lie far below the truth and must not be reported as accuracies. For
# choosing they serve as well as the others: look at the order and not at the height.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(thresholds, truth, "k-o", label="test accuracy, true labels")
for name, search in searches.items():
    mean, std = (search.cv_results_[f"{what}_test_score"] for what in ("mean", "std"))
    ax.errorbar(thresholds, mean, std / np.sqrt(5), marker="o", capsize=3, label=name)
    chosen = search.best_params_["clean__threshold"]
    right = search.best_estimator_.score(X_test, y_test)
    print(f"{name:16} chooses {chosen:.2f}, of the test rows {right:.3f} are right")
ax.set(xlabel="threshold of GMMCleaner", ylabel="accuracy")
_ = ax.legend()
