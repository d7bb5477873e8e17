"""How much noise has to show before it is believed, by what the scores say of themselves.

Overlap of classes explains given labels that differ from what scores predict as well as wrong
labels do. How far classes stand apart in the scores, and how many of the labels these predict,
tells by how many nats noise has to make the labels likelier.
"""

from dataclasses import dataclass

import numpy as np

from skclean.decision.transition_fit import QUADRATIC_CLASSES, TINY

#: Noise has to make the labels likelier by so many nats in all, where classes make up these shares
#: of the variance of the scores, and in between by lines. Groups cut out of one cloud of Gaussian
#: scores make up less than two thirds, out of a flat one three quarters. Far above, noise is
#: believed unless it makes few labels clearly less likely: rows at one place with labels of several
#: classes are what wrong labels look like, and nothing else.
SUPPORT_SEPARATIONS, SUPPORT_NATS = (2 / 3, 0.8, 0.9), (3.0, 0.0, -4.0)
#: The same of two classes in many rows, or where no more than such a share of the labels is
#: predicted: they are told by one score, and a flat cloud of it, cut in two, is what features give
#: that hardly predict labels. Of probabilities of many rows, noise has to be borne out up to the
#: last share.
TWO_SEPARATIONS, TWO_WEAK, TWO_PREDICTED = (0.8, 0.82, 0.9), 0.72, 0.8
#: Where no more than that share of the labels is predicted, T could be but a confusion matrix.
HALF = 0.5
#: What it takes there, in nats a class, by weak scores and by probabilities, once so many times as
#: much is taken off as the likelihood loses with each row left out of T.
CLASS_NATS, PROBA_CLASS_NATS, OPTIMISM = 1.0, 2.0, 3.0
#: Probabilities that predict the first of these shares of the labels take no more than so many nats
#: in all, and by a line less up to the other, however far they lie apart.
PROBA_PREDICTED, PROBA_NATS = (0.8, 0.9), (0.0, -1.0)
#: Classes that follow on one another, as grades do: `clearness` is less than the `separation` by
#: more than the first, as each row is between two, however far the first lies from the last. Where
#: no more than the second share of the labels is predicted, noise takes so many nats a class.
IN_A_ROW, ROW_PREDICTED, ROW_NATS = 0.25, 0.55, 8.0
#: So many trusted rows of each class bear noise of many rows out by themselves.
SURE = 3


@dataclass(frozen=True)
class Doubt:
    """What scores, and trusted rows, say of noise in the labels.

    Attributes
    ----------
    predicted : float
        Share of the labels that have the greatest score.
    separation : float
        `separation` of the scores, or `clearness` of classes in a row; 1 of probabilities.
    needed : float
        Nats by which noise has to make all labels likelier.
    weak : bool
        Whether the scores hardly tell noise from overlap.
    doubtful : bool
        Whether noise has to be borne out.
    sure : bool
        Whether trusted rows bear it out.
    one_cloud : bool
        Whether classes of few rows stand no further apart than groups cut out of one cloud.
    optimism : float
        How many times what the likelihood loses with each row left out of T counts against noise.
    """

    predicted: float
    separation: float
    needed: float
    weak: bool
    doubtful: bool
    sure: bool
    one_cloud: bool = False
    optimism: float = 0.0


def doubt_of_few(scores: np.ndarray, given: np.ndarray, log_proba: bool, sure: bool) -> Doubt:
    """Of few rows, noise has to be borne out whatever the scores.

    Parameters
    ----------
    scores : ndarray of shape (n, C), float64
    given : ndarray of shape (n,), int64
    log_proba : bool
        Whether the scores are logarithms of probabilities.
    sure : bool
        Whether trusted rows bear noise out.
    """
    n_classes = scores.shape[1]
    predicted = float(np.mean(scores.argmax(axis=1) == given))
    apart, in_a_row = _separation(scores, predicted)
    two = n_classes == 2 and predicted <= TWO_WEAK
    separations = TWO_SEPARATIONS if two else SUPPORT_SEPARATIONS
    one_cloud = not log_proba and apart < separations[0]
    weak = one_cloud and n_classes <= QUADRATIC_CLASSES and not sure
    needed, optimism = needed_support(apart, separations), 0.0
    if log_proba and predicted >= PROBA_PREDICTED[0]:
        needed = min(needed, float(np.interp(predicted, PROBA_PREDICTED, PROBA_NATS)))
    in_a_row = in_a_row and weak
    if in_a_row or ((log_proba or weak) and predicted <= HALF):
        least = ROW_NATS if in_a_row else PROBA_CLASS_NATS if log_proba else CLASS_NATS
        needed, optimism = max(needed, least * n_classes), OPTIMISM
    apart = 1.0 if log_proba else apart
    return Doubt(predicted, apart, needed, weak, True, sure, one_cloud, optimism)


def doubt_of_many(scores: np.ndarray, given: np.ndarray, log_proba: bool, sure: bool) -> Doubt:
    """Of many rows, those of few classes where scores are weak, or separate classes middlingly.

    Parameters
    ----------
    scores : ndarray of shape (n, C), float64
        Of some of the rows.
    given : ndarray of shape (n,), int64
    log_proba, sure : bool
        As in `doubt_of_few`.
    """
    n_classes = scores.shape[1]
    predicted = float(np.mean(scores.argmax(axis=1) == given))
    if log_proba:
        apart = 1.0
        weak = doubtful = predicted <= (HALF if n_classes > 2 else TWO_PREDICTED)
        needed = PROBA_CLASS_NATS * n_classes
    else:
        apart, in_a_row = _separation(scores, predicted)
        separations = SUPPORT_SEPARATIONS if n_classes > 2 else TWO_SEPARATIONS
        weak, doubtful = apart < separations[0], apart < separations[1]
        needed = needed_support(apart, separations)
        if in_a_row or predicted <= HALF:
            needed = max(needed, (ROW_NATS if in_a_row else CLASS_NATS) * n_classes)
    if sure or n_classes > QUADRATIC_CLASSES:
        weak = doubtful = False
    return Doubt(predicted, apart, needed, weak, doubtful, sure)


def surely_trusted(trusted: np.ndarray | None, given: np.ndarray, n_classes: int) -> bool:
    """Whether `SURE` rows or more of each class are trusted."""
    if trusted is None:
        return False
    return bool(np.bincount(given[trusted], minlength=n_classes).min() >= SURE)


def needed_support(separation: float, separations: tuple = SUPPORT_SEPARATIONS) -> float:
    """Nats by which noise must make few labels likelier to be believed; see `separation`."""
    return float(np.interp(separation, separations, SUPPORT_NATS))


def separation(scores: np.ndarray) -> float:
    """Share of the variance of scores (n, C) that lies between the groups of greatest score."""
    best, centre = scores.argmax(axis=1), scores.mean(axis=0)
    between = 0.0
    for k in np.unique(best):
        group = scores[best == k]
        between += len(group) * float(np.sum((group.mean(axis=0) - centre) ** 2))
    return between / max(float(np.sum((scores - centre) ** 2)), TINY)


def clearness(scores: np.ndarray) -> float:
    """E[m]^2 / E[m^2] of the differences m between the two greatest scores of each row (n, C).

    Of two classes it is their `separation`. Calibrated scores that reach certainty predict at least
    that share of right labels, or two thirds: both are 3/4 where rows are evenly spread between two
    classes. It is greater where rows lie at places that are nobody's corner, as wrong labels make
    them; and where features hardly predict labels, as it does not depend on the unit of the scores.
    """
    best = np.partition(scores, -2, axis=1)
    margin = best[:, -1] - best[:, -2]
    return float(margin.mean() ** 2 / max(float(np.mean(margin**2)), TINY))


def _separation(scores, predicted):
    """`separation`, or `clearness` of classes in a row, and whether they are such."""
    apart, clear = separation(scores), clearness(scores)
    in_a_row = predicted <= ROW_PREDICTED and apart - clear > IN_A_ROW
    return (clear if in_a_row else apart), in_a_row
