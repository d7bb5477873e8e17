"""Whether noise is believed in: whether it makes the given labels likelier by enough."""

from typing import Any

import numpy as np
from scipy.optimize import brentq

from skclean._array import to_numpy
from skclean._blocks import few_rows, own_column, sum_blocks
from skclean.decision.gaussian_scores import fit_gaussian_scores
from skclean.decision.transition import (
    SUPPORT_ROWS,
    alike_nats,
    all_posteriors,
    fit_rows,
    fit_some,
    rows_of_fit,
    with_warning,
)
from skclean.decision.transition_fit import QUADRATIC_CLASSES, TINY
from skclean.decision.transition_model import TransitionModel

#: Up to `SUPPORT_ROWS` rows, M has to make the labels likelier by so many nats a row.
UNMIXING_GAIN = 0.03
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
#: What it takes, in nats a class, by weak scores and by probabilities that predict fewer than half
#: of the labels, once so many times as much is taken off as the likelihood loses with each row left
#: out of T.
CLASS_NATS, PROBA_CLASS_NATS, OPTIMISM = 1.0, 2.0, 3.0
#: Probabilities that predict the first of these shares of the labels take no more than so many nats
#: in all, and by a line less up to the other, however far they lie apart.
PROBA_PREDICTED, PROBA_NATS = (0.8, 0.9), (0.0, -1.0)
#: Noise has to make the labels likelier by the first share of what weak scores tell of them, or by
#: the second for each label that is wrong. Clean labels of weak scores deviate from the model by
#: less. Where fewer labels are wrong than the third share, no harm is done.
MISFIT, MISFIT_NOISE, LITTLE_NOISE = 0.007, 0.1, 0.02
#: Of weak scores, these shares of the noise found are tried, as long as they make labels likelier.
SHARES = (0.75, 0.5, 0.25)
#: Where noise is believed that makes labels less likely, so many times the noise found is tried, as
#: long as that makes them less likely by no more than half as much.
TIMES = (1.5, 2.0, 2.5, 3.0, 4.0)
#: No smaller share is considered: a class twice as likely as the given label always counts.
LEAST_SHARE = 0.5
#: Classes that follow on one another, as grades do: `clearness` is less than the `separation` by
#: more than the first, as each row is between two, however far the first lies from the last. Where
#: no more than the second share of the labels is predicted, noise takes so many nats a class.
IN_A_ROW, ROW_PREDICTED, ROW_NATS = 0.25, 0.55, 8.0
#: Of scores of such `separation` and `clearness`, of two classes the first of `TWO_SEPARATIONS`, a
#: model takes noise for overlap of classes that expects to be right in fewer rows than the
#: clearness says, by the third. Gaussian scores take its place if they expect to be right in as
#: many as the fourth.
APART_SEPARATION, CLEAR, CONTRADICTION, SURE_OF_ROWS = 0.6, 0.7, 0.05, 0.9
#: A class vanishes that keeps less than the first share of its labels. Where no more than the
#: second share of the labels is predicted, T may be the confusion of classes that features do not
#: tell apart. It is, if each class takes in labels of one that vanishes, beyond what all others do,
#: by more than the third share of its own, on average.
VANISHED, VANISHED_PREDICTED, TAKEN_IN = 0.3, 0.5, 0.2
#: So many trusted rows of each class bear noise out by themselves.
SURE = 3
#: With fewer rows of a class, on average, leaving one out says more of the row than of its class.
SUPPORT_CLASS_ROWS = 5


def fit_supported(
    scores: Any,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    temperature: float,
    informative: bool = True,
    log_proba: bool = False,
    max_iter: int = 30,
    tol: float = 1e-4,
) -> tuple[TransitionModel, Any]:
    """`fit_transition`, or a simpler model where the labels do not bear it out.

    Up to `SUPPORT_ROWS` rows, noise is believed only if it makes the labels likelier than a T with
    less than one error does, by `needed_support`. Likewise the calibration of the scores, beside
    one temperature. Without that, a few overlapping rows pass for wrong labels. Where classes stand
    apart, that T has but the one temperature, too: a row whose neighbours all have another label
    is known by that these have none of its own, and curves could be bent to tell it without noise.
    Fewer than `SUPPORT_CLASS_ROWS` rows a class bear out nothing. Where noise is believed although
    it makes labels less likely, that is all the noise that explains them nearly as well (`TIMES`).

    What bears it out is the likelihood without M, which would lend T itself support. Of a
    classifier's probabilities, any power may bear it out beside clean labels, the more easily, the
    more of these they predict (`PROBA_PREDICTED`). Where they, or weak
    scores, predict fewer than half of the given labels, T could be but their confusion matrix:
    noise then takes `PROBA_CLASS_NATS` or `CLASS_NATS` nats a class, and a T that fits single rows
    counts against it.

    Of any number of rows, noise is not believed that makes one class of several (see `TAKEN_IN`),
    or that scores of up to `QUADRATIC_CLASSES` classes do not bear out by the nats that their
    separation takes, or hardly (see `MISFIT`), where they are weak or, of many rows, below the
    second separation. `SURE` trusted rows of each class bear it out. Scores are weak whose
    `separation` is that of one cloud, and, of many rows, probabilities that predict fewer than half
    of the labels, or of two classes `TWO_PREDICTED`, and need `PROBA_CLASS_NATS`. Real noise is
    missed there, too, where it says little. Where it is believed without M, it is scaled down as
    far as that makes labels likelier, and the model says how much less would explain them nearly as
    well (`least_share`). Scores of classes that follow on one another, few of them predicted, are
    weak, too, and noise takes `ROW_NATS` nats a class there: overlap of grades is much like noise
    among them.

    Noise that depends on the row is likelier as overlap of classes, which the scores can contradict
    (`clearness`): Gaussian scores (`fit_gaussian_scores`) then take the place of the model.

    Parameters
    ----------
    scores, given, trusted, log_proba, max_iter, tol
        As in `fit_transition`.
    temperature : float
        Factor of the scores in the simplest model.
    informative : bool
        False, where scores do not surely predict the labels, takes that model, unless they are
        scores of few rows in which classes stand apart, predict labels better than chance, and tell
        of them by `SUPPORT_NATS` once noise is taken out.

    Returns
    -------
    model, gamma
        As of `fit_transition`; ``n_iter`` of the simplest model is 0.
    """
    limits: dict[str, Any] = {"log_proba": log_proba, "max_iter": max_iter, "tol": tol}
    n, n_classes = scores.shape
    rate, eye = 1 / (n + 2), np.eye(n_classes)
    clean = rate / (n_classes - 1) * (1 - eye) + (1 - rate) * eye
    if n > SUPPORT_ROWS and informative:
        model, rows, gamma = _weighed(scores, given, trusted, clean, limits)
        return with_warning(model, all_posteriors(model, rows, gamma, scores, given))
    plain = _plain(scores, given, trusted, clean, temperature)
    if n > SUPPORT_ROWS or n < SUPPORT_CLASS_ROWS * n_classes:
        return plain, plain.posterior(scores, given)
    host = to_numpy(scores).astype(np.float64)
    predicted = np.mean(host.argmax(axis=1) == given)
    apart, in_a_row = _separation(host, predicted)
    two = n_classes == 2 and predicted <= TWO_WEAK
    separations = TWO_SEPARATIONS if two else SUPPORT_SEPARATIONS
    one_cloud = not log_proba and apart < separations[0]
    if not informative and (log_proba or one_cloud or _told(plain, given) <= 0):
        return plain, plain.posterior(scores, given)
    weak = one_cloud and n_classes <= QUADRATIC_CLASSES and not _sure(given, trusted, n_classes)
    needed, optimism, unmixed = needed_support(apart, separations), 0.0, False
    if log_proba and predicted >= PROBA_PREDICTED[0]:
        needed = min(needed, float(np.interp(predicted, PROBA_PREDICTED, PROBA_NATS)))
    in_a_row = in_a_row and weak
    if in_a_row or ((log_proba or weak) and predicted <= 0.5):
        least = ROW_NATS if in_a_row else PROBA_CLASS_NATS if log_proba else CLASS_NATS
        needed, optimism = max(needed, least * n_classes), OPTIMISM
    simpler = fit_rows(scores, given, trusted, transition=clean, **limits)
    rivals = simpler[0].by_power
    if not log_proba and apart >= separations[1]:
        rivals = (plain.log_likelihood,)
    beside = {"rivals": rivals, "needed": needed, "optimism": optimism}
    unmix = None if log_proba else False
    found = fit_rows(scores, given, trusted, unmix=unmix, **beside, **limits)
    if not log_proba:
        if weak and _hardly_likelier(found[0], _noise(found[1], given), simpler[0], given):
            found[0].support = -np.inf
        if not informative and n * _told(found[0], given) < SUPPORT_NATS[0]:
            return plain, plain.posterior(scores, given)
        other = fit_rows(scores, given, trusted, unmix=True, **limits)
        unmixed = other[0].log_likelihood >= found[0].log_likelihood + UNMIXING_GAIN
        if unmixed:
            other[0].support = found[0].support
            found = other
    confused = _confused(found[0], found[-1], given, trusted, predicted)
    if confused or found[0].support < needed:
        found = simpler
        found[0].support = -np.inf
    elif weak and not unmixed:
        found = _less_noise(found, scores, given, trusted, clean, limits)
    # Probabilities of noisy labels explain these as they are, as well as any noise does.
    least = -alike_nats(n) if log_proba and found is not simpler else needed
    if n * (found[0].log_likelihood - plain.log_likelihood) < least:
        found = plain, plain.posterior(scores, given)
    model, *_, gamma = found
    apart_model = None
    if not (log_proba or confused):
        apart_model = _of_gaussian_scores(model, scores, host, given, trusted, predicted)
    if apart_model is not None:
        model, gamma, weak = apart_model, apart_model.posterior(scores, given), False
    elif not log_proba and model.support > -np.inf and needed < 0:
        model, gamma = _more_noise(model, gamma, scores, given, trusted, -needed / 2, limits)
    model.needed, model.separation = needed, 1.0 if log_proba else apart
    if weak:
        model.least_share = _least_share(model, gamma, given, trusted)
    return with_warning(model, gamma)


def _weighed(scores, given, trusted, clean, limits):
    """The fit to many rows, or that of clean labels if noise hardly makes these likelier."""
    found = model, fitted, gamma = fit_some(scores, given, trusted, **limits)
    rows = rows_of_fit(given, None, SUPPORT_ROWS)
    some = few_rows(scores, rows)
    few, sure = to_numpy(some).astype(np.float64), None if trusted is None else trusted[rows]
    predicted, n_classes = np.mean(few.argmax(axis=1) == given[rows]), few.shape[1]
    certain = None if trusted is None else trusted[fitted]
    confused = _confused(model, gamma, given[fitted], certain, predicted)
    if limits["log_proba"]:
        weak = doubtful = predicted <= (0.5 if n_classes > 2 else TWO_PREDICTED)
        needed = PROBA_CLASS_NATS * n_classes
    else:
        separations = SUPPORT_SEPARATIONS if n_classes > 2 else TWO_SEPARATIONS
        separated, in_a_row = _separation(few, predicted)
        weak, doubtful = (separated < least for least in separations[:2])
        needed = needed_support(separated, separations)
        if in_a_row or predicted <= 0.5:
            needed = max(needed, (ROW_NATS if in_a_row else CLASS_NATS) * n_classes)
        if not confused:
            apart = _of_gaussian_scores(model, some, few, given[rows], sure, predicted)
            if apart is not None:
                return apart, rows, apart.posterior(some, given[rows])
    if n_classes > QUADRATIC_CLASSES:
        weak = doubtful = False
    if _sure(given, trusted, n_classes) or not (doubtful or confused):
        return found
    noise = _noise(gamma, given[fitted])
    if noise >= LITTLE_NOISE:
        simpler = fit_some(scores, given, trusted, transition=clean, **limits)
        gain = len(fitted) * (model.log_likelihood - simpler[0].log_likelihood)
        hardly = doubtful and _hardly_likelier(model, noise, simpler[0], given)
        if confused or hardly or gain < needed:
            simpler[0].support = -np.inf
            return simpler
        if weak:
            found = _less_noise(found, scores, given, trusted, clean, limits)
            model, fitted, gamma = found
    if weak:
        model.least_share = _least_share(model, gamma, given[fitted], certain)
    return found


def _of_gaussian_scores(model, scores, host, given, trusted, predicted):
    """The model of classes that stand apart, if scores contradict the overlap in a model; or None.

    Noise that depends on the row, not only on its class, is likelier as overlap of classes: q can
    follow it from place to place, and T cannot.
    """
    clear = clearness(host)
    expected = float(to_numpy(model.class_proba(scores)).max(axis=1).mean())
    least = CLEAR if host.shape[1] > 2 else TWO_SEPARATIONS[0]
    if separation(host) < APART_SEPARATION or clear < max(least, expected + CONTRADICTION):
        return None
    apart = fit_gaussian_scores(host, given, trusted)
    expected = float(to_numpy(apart.class_proba(scores)).max(axis=1).mean())
    if expected < SURE_OF_ROWS or _confused(
        apart, apart.posterior(scores, given), given, trusted, predicted
    ):
        return None
    return apart


def _less_noise(found, scores, given, trusted, clean, limits):
    """The fit, or one to a part of its noise if that makes the labels likelier.

    T grows round by round by what it explains of the labels that D fits anew; where weak scores
    hardly tell noise from overlap, it grows beyond what is likeliest with each row left out. Of
    probabilities, the likelihood counts each row left out of T, too, and that of a held T does not.
    """
    model, *_ = best = found
    if limits["log_proba"]:
        return found
    for share in SHARES:
        transition = share * model.transition + (1 - share) * clean
        less = fit_some(scores, given, trusted, transition=transition, near=best[0], **limits)
        if less[0].log_likelihood <= best[0].log_likelihood:
            break
        best = less
    best[0].support = model.support
    return best


def _more_noise(model, gamma, scores, given, trusted, most, limits):
    """The fit, or one to more noise, if that makes few labels less likely by `most` nats at most.

    Rows at one place with labels of several classes are as likely by any mixture of noise and of
    overlap. Where classes stand apart, they are what wrong labels look like.
    """
    best, first, eye = (model, gamma), model, np.eye(len(model.transition))
    for times in TIMES:
        transition = eye + times * (first.transition - eye)
        if (np.diag(transition) < transition.max(axis=1)).any():
            break
        more = fit_rows(scores, given, trusted, transition=transition, near=best[0], **limits)
        if len(given) * (first.log_likelihood - more[0].log_likelihood) > most:
            break
        best = more
    best[0].support = first.support
    return best


def _noise(gamma, given):
    """Share of the labels that are wrong by the posteriors (n, C)."""
    return float(1 - np.mean(to_numpy(own_column(gamma, given)), dtype=np.float64))


def _told(model, given):
    """What the scores tell of a label, in nats: what they make it likelier than its frequency."""
    share = np.bincount(given) / len(given)
    return model.log_likelihood - float(np.sum(share * np.log(np.maximum(share, TINY))))


def _hardly_likelier(model, noise, simpler, given):
    """Whether more than little noise makes labels likelier by less than weak scores may be off."""
    least = min(MISFIT, MISFIT_NOISE * noise) * _told(model, given)
    return noise >= LITTLE_NOISE and model.log_likelihood - simpler.log_likelihood < least


def _least_share(model, gamma, given, trusted):
    """Least share of the noise by which q makes labels less likely by what scores may be off.

    With sT + (1 - s) 1 in place of T, q makes the label k likelier by the factor
    s + (1 - s) q_k / sum_y q_y T_yk, the fraction being gamma_k / T_kk, or 1 for a trusted row.
    """
    ratio = to_numpy(own_column(gamma, given)) / np.diag(model.transition)[given]
    if trusted is not None:
        ratio[trusted] = 1
    most = max(MISFIT * _told(model, given), 0.0)

    def excess(share):
        return -float(np.mean(np.log(share + (1 - share) * ratio), dtype=np.float64)) - most

    return LEAST_SHARE if excess(LEAST_SHARE) <= 0 else brentq(excess, LEAST_SHARE, 1)


def _sure(given, trusted, n_classes):
    """Whether trusted rows bear noise out."""
    return trusted is not None and np.bincount(given[trusted], minlength=n_classes).min() >= SURE


def _confused(model, gamma, given, trusted, predicted):
    """Whether classes take in labels of others, which vanish, as features do that tell of neither.

    Labels that are wrong at random let rare classes vanish, too, but go to all others alike.
    """
    if predicted > VANISHED_PREDICTED or _sure(given, trusted, len(model.transition)):
        return False
    found = to_numpy(gamma).mean(axis=0, dtype=np.float64)
    gone = found < VANISHED * np.bincount(given, minlength=len(found)) / len(given)
    kept, own = found[~gone], np.diag(model.transition)[~gone]
    taken = model.transition[~gone][:, gone]
    # Beyond the mean of the others a class takes in so many times what is beyond that of all.
    times = kept.sum() / np.maximum(kept.sum() - kept, 1 / len(given))
    beyond = np.max(taken - kept @ taken / kept.sum(), axis=1, initial=0) * times
    return float(kept @ (beyond / own)) > TAKEN_IN


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


def _separation(scores, predicted):
    """`separation`, or `clearness` of classes in a row, and whether they are such."""
    apart, clear = separation(scores), clearness(scores)
    in_a_row = predicted <= ROW_PREDICTED and apart - clear > IN_A_ROW
    return (clear if in_a_row else apart), in_a_row


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


def _plain(scores, given, trusted, transition, temperature):
    """The model of one temperature and a T, with its likelihood."""
    n, n_classes = scores.shape
    plain = TransitionModel(
        transition=transition,
        center=np.zeros(n_classes),
        scale=1.0,
        square_center=np.zeros((n_classes, 1)),
        square_scale=1.0,
        linear=np.full((1, n_classes), temperature),
        curve=np.zeros(n_classes),
        bias=np.zeros(n_classes),
        converged=True,
        support=-np.inf,
    )

    def likelihood(scores, given, sure):
        factor = np.where(sure[:, None], np.eye(n_classes)[given], transition.T[given])
        proba = to_numpy(plain.class_proba(scores))
        return (float(np.sum(np.log(np.sum(proba * factor, axis=1) + TINY))),)

    sure = np.zeros(n, bool) if trusted is None else trusted
    plain.log_likelihood = sum_blocks(likelihood, scores, given, sure)[0] / n
    return plain
