"""Whether noise is believed in: whether it makes the given labels likelier by enough."""

from dataclasses import dataclass, replace
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
    fit_some,
    rows_of_fit,
    with_warning,
)
from skclean.decision.transition_doubt import (
    SUPPORT_NATS,
    TWO_SEPARATIONS,
    clearness,
    doubt_of_few,
    doubt_of_many,
    separation,
    surely_trusted,
)
from skclean.decision.transition_fit import TINY
from skclean.decision.transition_model import TransitionModel

#: With fewer rows of a class, on average, leaving one out says more of the row than of its class.
SUPPORT_CLASS_ROWS = 5
#: Up to `SUPPORT_ROWS` rows, M has to make the labels likelier by so many nats a row.
UNMIXING_GAIN = 0.03
#: Noise has to make the labels likelier by the first share of what weak scores tell of them, or by
#: the second for each label that is wrong. Clean labels of weak scores deviate from the model by
#: less. Where fewer labels are wrong than the third share, no harm is done.
MISFIT, MISFIT_NOISE, LITTLE_NOISE = 0.007, 0.1, 0.02
#: Of weak scores, these shares of the noise found are tried, as long as they make labels likelier.
SHARES = (0.75, 0.5, 0.25)
#: Where noise would be believed that makes labels less likely, so many times the noise found is
#: tried, as long as half of what is added shows in the labels, and makes them less likely by no
#: more than half as much.
TIMES = (1.5, 2.0, 2.5, 3.0, 4.0)
#: No smaller share is considered: a class twice as likely as the given label always counts.
LEAST_SHARE = 0.5
#: Scores of such `separation` and `clearness`, of two classes the first of `TWO_SEPARATIONS`,
#: contradict a model that takes noise for overlap of classes: one that expects to be right in fewer
#: rows than the clearness says by the third; if it finds less than `LITTLE_NOISE`, by the fourth,
#: which allows it a few more. Gaussian scores then take its place if they expect to be right in as
#: many rows as the sixth, and if twice what the clearness says more, plus what they expect more, is
#: at least the fifth.
APART_SEPARATION, CLEAR, CLEARER, LEAST_CLEARER = 0.6, 0.65, 0.05, -0.03
CONTRADICTION, SURE_OF_ROWS = 0.1, 0.9
#: A class vanishes that keeps less than the first share of its labels. Where no more than the
#: second share of the labels is predicted, T may be the confusion of classes that features do not
#: tell apart. It is, if each class takes in labels of one that vanishes, beyond what all others do,
#: by more than the third share of its own, on average.
VANISHED, VANISHED_PREDICTED, TAKEN_IN = 0.3, 0.5, 0.2


def fit_supported(
    scores: Any,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    temperature: float,
    informative: bool = True,
    log_proba: bool = False,
    lenient: bool = False,
    max_iter: int = 30,
    tol: float = 1e-4,
) -> tuple[TransitionModel, Any]:
    """`fit_transition`, or a simpler model where the labels do not bear it out.

    Up to `SUPPORT_ROWS` rows, noise is believed only if it makes the labels likelier than a T with
    less than one error does, by `needed_support`. Likewise the calibration of the scores, beside
    one temperature. Without that, a few overlapping rows pass for wrong labels. Where classes stand
    apart, that T has but the one temperature, too: a row whose neighbours all have another label
    is known by that these have none of its own, and curves could be bent to tell it without noise.
    Fewer than `SUPPORT_CLASS_ROWS` rows a class bear out nothing. Where noise would be believed
    although it makes labels less likely, it is all that explains them nearly as well (`TIMES`).

    What bears it out is the likelihood without M, which would lend T itself support. Of a
    classifier's probabilities, any power may bear it out beside clean labels, the more easily, the
    more of these they predict (`PROBA_PREDICTED`). Where they, or weak
    scores, predict fewer than half of the given labels, T could be but their confusion matrix:
    noise then takes `PROBA_CLASS_NATS` or `CLASS_NATS` nats a class, and a T that fits single rows
    counts against it.

    Of any number of rows, noise is not believed that makes one class of several (see `TAKEN_IN`),
    or that scores of up to `QUADRATIC_CLASSES` classes do not bear out by the nats that their
    separation takes, or hardly (see `MISFIT`), where they are weak or, of many rows, below the
    second separation. `SURE` trusted rows of each class bear it out there. Scores are weak whose
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
    lenient : bool
        Of few rows, believe in noise that makes the labels no less likely: where a right label that
        is doubted costs less than a wrong one that is believed.

    Returns
    -------
    model, gamma
        As of `fit_transition`; ``n_iter`` of the simplest model is 0.
    """
    rows = _Rows(scores, given, trusted, log_proba, {"max_iter": max_iter, "tol": tol})
    if len(given) > SUPPORT_ROWS and informative:
        model, fitted, gamma = _of_many(rows)
    else:
        plain = rows.plain(temperature)
        few = SUPPORT_CLASS_ROWS * scores.shape[1] <= len(given) <= SUPPORT_ROWS
        model, fitted, gamma = _of_few(rows, plain, informative, lenient) if few else plain
    return with_warning(model, all_posteriors(model, fitted, gamma, scores, given))


@dataclass
class _Rows:
    """What is fitted to; fits are a model, the positions of its rows and their posteriors."""

    scores: Any
    given: np.ndarray
    trusted: np.ndarray | None
    log_proba: bool
    limits: dict

    def fit(self, **options):
        options |= self.limits | {"log_proba": self.log_proba}
        return fit_some(self.scores, self.given, self.trusted, **options)

    def some(self, positions):
        trusted = None if self.trusted is None else self.trusted[positions]
        scores = few_rows(self.scores, positions)
        return replace(self, scores=scores, given=self.given[positions], trusted=trusted)

    @property
    def sure(self):
        """Whether trusted rows bear noise out."""
        return surely_trusted(self.trusted, self.given, self.scores.shape[1])

    @property
    def clean(self):
        """A T of less than one error."""
        n, n_classes = self.scores.shape
        rate, eye = 1 / (n + 2), np.eye(n_classes)
        return rate / (n_classes - 1) * (1 - eye) + (1 - rate) * eye

    def plain(self, temperature):
        """The model of one temperature and `clean`, with its likelihood."""
        n, n_classes = self.scores.shape
        plain = TransitionModel(
            transition=self.clean,
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
            factor, known = plain.transition.T[given], np.flatnonzero(sure)
            factor[known] = 0
            factor[known, given[known]] = 1
            proba = to_numpy(plain.class_proba(scores))
            return (float(np.sum(np.log(np.sum(proba * factor, axis=1) + TINY))),)

        sure = np.zeros(n, bool) if self.trusted is None else self.trusted
        plain.log_likelihood = sum_blocks(likelihood, self.scores, self.given, sure)[0] / n
        return plain, np.arange(n), plain.posterior(self.scores, self.given)


def _of_few(rows, plain, informative, lenient):
    """The fit to few rows, of as much noise as they bear out; or the plain one."""
    given, log_proba, n = rows.given, rows.log_proba, len(rows.given)
    host = to_numpy(rows.scores).astype(np.float64)
    doubt = doubt_of_few(host, given, log_proba, rows.sure)
    if lenient:
        doubt = replace(doubt, needed=min(doubt.needed, 0.0))
    if not informative and (log_proba or doubt.one_cloud or _told(plain[0], given) <= 0):
        return plain
    simpler = rows.fit(transition=rows.clean)
    apart = not log_proba and doubt.needed <= 0
    rivals = (plain[0].log_likelihood,) if apart else simpler[0].by_power
    beside = {"rivals": rivals, "needed": doubt.needed, "optimism": doubt.optimism}
    found, unmixed = rows.fit(unmix=None if log_proba else False, **beside), False
    if not log_proba:
        if doubt.weak and _hardly_likelier(found[0], _noise(found[2], given), simpler[0], given):
            found[0].support = -np.inf
        if not informative and n * _told(found[0], given) < SUPPORT_NATS[0]:
            return plain
        other = rows.fit(unmix=True)
        unmixed = other[0].log_likelihood >= found[0].log_likelihood + UNMIXING_GAIN
        if unmixed:
            other[0].support = found[0].support
            found = other
    confused = _confused(found[0], found[2], given, doubt)
    if confused or found[0].support < doubt.needed:
        found = simpler
        found[0].support = -np.inf
    elif doubt.weak and not unmixed:
        found = _less_noise(found, rows)
    # Probabilities of noisy labels explain these as they are, as well as any noise does.
    least = -alike_nats(n) if log_proba and found is not simpler else doubt.needed
    if n * (found[0].log_likelihood - plain[0].log_likelihood) < least:
        found = plain
    gaussian = None
    if not (log_proba or confused):
        gaussian = _of_gaussian_scores(found[0], rows, host, doubt)
    if gaussian is not None:
        found = gaussian, found[1], gaussian.posterior(rows.scores, given)
    elif apart and found[0].support > -np.inf:
        found = _more_noise(found, rows, -doubt.needed / 2)
    model = found[0]
    model.needed, model.separation = doubt.needed, doubt.separation
    if doubt.weak and gaussian is None:
        model.least_share = _least_share(model, found[2], given, rows.trusted)
    return found


def _of_many(rows):
    """The fit to many rows, or that of clean labels if noise hardly makes these likelier."""
    found = model, fitted, gamma = rows.fit()
    positions = rows_of_fit(rows.given, None, SUPPORT_ROWS)
    some = rows.some(positions)
    host = to_numpy(some.scores).astype(np.float64)
    doubt = doubt_of_many(host, some.given, rows.log_proba, rows.sure)
    labels = rows.given[fitted]
    confused = _confused(model, gamma, labels, doubt)
    if not (rows.log_proba or confused):
        gaussian = _of_gaussian_scores(model, some, host, doubt)
        if gaussian is not None:
            return gaussian, positions, gaussian.posterior(some.scores, some.given)
    if not (doubt.doubtful or confused):
        return found
    noise = _noise(gamma, labels)
    if noise >= LITTLE_NOISE:
        simpler = rows.fit(transition=rows.clean)
        gain = len(fitted) * (model.log_likelihood - simpler[0].log_likelihood)
        hardly = doubt.doubtful and _hardly_likelier(model, noise, simpler[0], labels)
        if confused or hardly or gain < doubt.needed:
            simpler[0].support = -np.inf
            return simpler
        if doubt.weak:
            found = model, fitted, gamma = _less_noise(found, rows)
    if doubt.weak:
        trusted = None if rows.trusted is None else rows.trusted[fitted]
        model.least_share = _least_share(model, gamma, labels, trusted)
    return found


def _of_gaussian_scores(model, rows, host, doubt):
    """The model of classes that stand apart, if scores contradict the overlap in a model; or None.

    Noise that depends on the row, not only on its class, is likelier as overlap of classes: q can
    follow it from place to place, and T cannot.
    """
    least = CLEAR if host.shape[1] > 2 else TWO_SEPARATIONS[0]
    clear, expected = clearness(host), _expected(model, rows)
    little = _noise(model.posterior(rows.scores, rows.given), rows.given) < LITTLE_NOISE
    clearer = clear - expected
    if clear < least or clearer < (LEAST_CLEARER if little else CLEARER):
        return None
    if separation(host) < APART_SEPARATION:
        return None
    apart = fit_gaussian_scores(host, rows.given, rows.trusted)
    found = _expected(apart, rows)
    if found < SURE_OF_ROWS or 2 * clearer + found - expected < CONTRADICTION:
        return None
    posterior = apart.posterior(rows.scores, rows.given)
    return None if _confused(apart, posterior, rows.given, doubt) else apart


def _expected(model, rows):
    """In which share of the rows q expects to be right."""
    return float(to_numpy(model.class_proba(rows.scores)).max(axis=1).mean())


def _less_noise(found, rows):
    """The fit, or one to a part of its noise if that makes the labels likelier.

    T grows round by round by what it explains of the labels that D fits anew; where weak scores
    hardly tell noise from overlap, it grows beyond what is likeliest with each row left out. Of
    probabilities, the likelihood counts each row left out of T, too, and that of a held T does not.
    """
    model, *_ = best = found
    if rows.log_proba:
        return found
    for share in SHARES:
        transition = share * model.transition + (1 - share) * rows.clean
        less = rows.fit(transition=transition, near=best[0])
        if less[0].log_likelihood <= best[0].log_likelihood:
            break
        best = less
    best[0].support = model.support
    return best


def _more_noise(found, rows, most):
    """The fit, or one to more noise, if that makes few labels less likely by `most` nats at most.

    Rows at one place with labels of several classes are as likely by any mixture of noise and of
    overlap. Where classes stand apart, they are what wrong labels look like. More of the labels
    have to be wrong by it, too: of few rows far apart, T alone is as likely with more noise.
    """
    first, best = found[0], found
    eye, noise = np.eye(len(first.transition)), _noise(found[2], rows.given)
    for times in TIMES:
        transition = eye + times * (first.transition - eye)
        if (np.diag(transition) < transition.max(axis=1)).any():
            break
        more = rows.fit(transition=transition, near=best[0])
        if _noise(more[2], rows.given) < (1 + times) / 2 * noise:
            break
        if len(rows.given) * (first.log_likelihood - more[0].log_likelihood) > most:
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


def _confused(model, gamma, given, doubt):
    """Whether classes take in labels of others, which vanish, as features do that tell of neither.

    Labels that are wrong at random let rare classes vanish, too, but go to all others alike.
    """
    if doubt.sure or doubt.predicted > VANISHED_PREDICTED:
        return False
    found = to_numpy(gamma).mean(axis=0, dtype=np.float64)
    gone = found < VANISHED * np.bincount(given, minlength=len(found)) / len(given)
    kept, own = found[~gone], np.diag(model.transition)[~gone]
    taken = model.transition[~gone][:, gone]
    # Beyond the mean of the others a class takes in so many times what is beyond that of all.
    times = kept.sum() / np.maximum(kept.sum() - kept, 1 / len(given))
    beyond = np.max(taken - kept @ taken / kept.sum(), axis=1, initial=0) * times
    return float(kept @ (beyond / own)) > TAKEN_IN
