"""The noise-transition model: scores and given labels in, clean labels and their noise out.

The given label and the scores of a row (which have not seen it) are independent given the true
class, so the two together identify the noise. With scores s_i in R^C standardised,

    q_i = softmax(tau M^T s_i + c * s_i^2 + D^T f_i + b),    p(given = k | i) = sum_y q_iy T_yk,

f_i = [s_i, s_i^2] up to `QUADRATIC_CLASSES` classes, s_i up to `MIXING_CLASSES` and D = 0 beyond,
the model maximises the likelihood of the given labels over tau, c, b, D and the transition matrix
T:

- M is the ridge inverse T^T (T T^T + .2 I)^-1, divided by its mean diagonal: scores were fitted to
  the noisy labels, hence a class that turns into another is seen in the scores of both. Where D
  learns it from many rows, few rows do not gain by it, or T is held, M is the identity;
- where scores are logarithms of probabilities p, (p^a - 1) / a takes their place, a of `POWERS`;
- D has a normal prior whose precision is chosen by the evidence of the labels (MacKay's
  fixed point, with a Kronecker-factored curvature);
- a row of T is an error rate with a Beta prior times a distribution over the other classes with a
  symmetric Dirichlet prior; both priors are fitted to the expected counts, so that one common
  rate, rates per class, a few strong confusions and uniform noise are all found by themselves;
- no entry of a row of T is above its diagonal, without which classes could swap names;
- q of a row of the fit is corrected to the value that it would have without the row's own label
  (approximate leave-one-out), so that the flexible D does not explain noise away.

The posterior gamma_iy = q_iy T_y,given / sum is the purified soft label, gamma_i,given the
probability that the given label is right.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skclean._array import take_rows
from skclean._blocks import at_once, put_rows
from skclean._threads import one_blas_thread
from skclean._warnings import warn
from skclean.decision.transition_fit import MIXING_CLASSES, QUADRATIC_CLASSES, TransitionFit
from skclean.decision.transition_model import POWERS, TransitionModel

#: The fit starts from these shares of the noise of uniformly random labels, and goes on from the
#: one that makes the labels likeliest after some rounds, from the noisiest of those that are alike
#: to one nat: from the first alone, labels that are nearly all wrong would be believed. Up to
#: `SUPPORT_ROWS` rows it goes on from the first, unless another makes the labels likelier by
#: `START_GAIN` nats a row: few overlapping rows can be told apart in more ways than one.
START_NOISE, TRIAL_ROUNDS, START_GAIN = (2 / 3, 0.8, 0.9), 2, 0.1
#: So many rows are few.
SUPPORT_ROWS = 5000
#: Fits to powers of probabilities that make the labels equally likely, to so many nats in all and a
#: row: the noisiest is taken, as probabilities of noisy labels explain those without any noise.
ALIKE_NATS, ALIKE_ROW_NATS = 2.0, 0.002
#: Those that bear out noise by so many nats go before others.
SURE_SUPPORT = 3.0
#: The model is fitted to about that many rows, and scores (rows times classes), at most; its starts
#: are tried on so many rows.
MAX_ROWS, MAX_SCORES, TRIAL_ROWS = 1 << 17, 1 << 24, 1 << 16


def fit_transition(
    scores: Any,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    transition: np.ndarray | None = None,
    log_proba: bool = False,
    unmix: bool | None = None,
    max_iter: int = 30,
    tol: float = 1e-4,
) -> tuple[TransitionModel, Any]:
    """Fit the noise-transition model to rows with a given label.

    Logarithms of probabilities are not scores of least squares: what is sure of a class in one
    classifier is not in another, and they can be noisy labels' own probabilities, which need no
    noise to explain those. The model is then fitted to several powers of the probabilities, first
    to the probabilities themselves, in which noise shows; the others start from the T found there,
    the logarithms also by themselves. The likeliest of all is taken, of those that are alike the
    noisiest.

    Of more than `MAX_ROWS` rows, or `MAX_SCORES` scores, the fit takes the trusted rows and others
    evenly spaced over the given labels.

    Parameters
    ----------
    scores : array of shape (n, C)
        Evidence that has not seen the row's own label: leave-one-out or cross-fitted scores, or
        logarithms of probabilities.
    given : ndarray of shape (n,), int64
        Labels in 0 to C - 1, none missing.
    trusted : ndarray of shape (n,), bool, or None
        Rows whose label is right: their likelihood is that of q at the label, and they do not
        count in T.
    transition : ndarray of shape (C, C) or None
        T, held as it is; None fits it. Scores of a model that was fitted to the posteriors of other
        rows have seen the row's label through those: T would then turn towards what the scores
        already believe.
    log_proba : bool
        Whether the scores are logarithms of probabilities.
    unmix : bool or None
        False takes the identity for M. None does so for scores (no logarithms) of up to
        `QUADRATIC_CLASSES` classes, as D learns it, and of up to `SUPPORT_ROWS` rows. A T that is
        held is in no scores.
    max_iter : int
        Most rounds of a fit.
    tol : float
        A round that changes the mean log-likelihood by less ends the fit.

    Returns
    -------
    model : TransitionModel
    gamma : array of shape (n, C)
        Posterior of the rows, those of the fit with their own labels left out of q. float32.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` rounds were not enough.
    """
    options = {"log_proba": log_proba, "unmix": unmix, "max_iter": max_iter, "tol": tol}
    model, rows, gamma = fit_some(scores, given, trusted, transition=transition, **options)
    return with_warning(model, all_posteriors(model, rows, gamma, scores, given))


def with_warning(model, gamma):
    """Both, with a warning if the likelihood of the model has not settled."""
    if not model.converged:
        warn(
            "fit_transition: expected the likelihood to settle, got changes up to the last of "
            f"{model.n_iter} rounds; do raise max_iter.",
            ConvergenceWarning,
        )
    return model, gamma


def fit_some(scores, given, trusted, **options):
    """Model, the positions of the rows of the fit, `MAX_ROWS` at most, and their posteriors."""
    rows = rows_of_fit(given, trusted, min(MAX_ROWS, MAX_SCORES // scores.shape[1]))
    every = len(rows) == len(given)
    sure = None if trusted is None else trusted[rows]
    fit = partial(_fit, given=given[rows], trusted=sure, **options)
    model, gamma = at_once(fit, scores if every else take_rows(scores, rows))
    return model, rows, gamma


def all_posteriors(model, rows, gamma, scores, given):
    """Posteriors (n, C) of all rows, those of the fit as they came out of it."""
    if len(rows) == len(given):
        return gamma
    return put_rows(model.posterior(scores, given), rows, gamma)


def _fit(
    scores,
    given,
    trusted,
    *,
    max_iter,
    tol,
    log_proba=False,
    rivals=None,
    needed=-np.inf,
    optimism=0.0,
    **options,
):
    """The likeliest fit to all of the rows, of those that bear out noise beside their rivals.

    `rivals` are the likelihoods of clean labels by power; `optimism` times what the likelihood
    loses with each row left out of T counts against a fit.
    """
    found, n, powers = [], len(given), POWERS if log_proba else (None,)
    with one_blas_thread() if scores.shape[1] <= MIXING_CLASSES else nullcontext():
        for fit in _started((scores, given, trusted), (max_iter, tol), powers, **options):
            fit.rounds(max_iter, tol)
            model = fit.best.model
            model.n_iter, model.converged = fit.model.n_iter, fit.model.converged
            plainly = left_out = model.log_likelihood
            if not fit.held and (log_proba or optimism):
                left_out = fit.best.left_out_of_transition()
            if log_proba:
                model.log_likelihood = left_out
            lost = optimism * (plainly - left_out)
            found.append((model, plainly, lost, fit.best.in_caller_order(fit.best.gamma)))
    by_power = [
        max(plainly for model, plainly, *_ in found if model.power == power) for power in powers
    ]
    if rivals is not None:
        for model, plainly, lost, _ in found:
            model.support = n * (plainly - lost - rivals[powers.index(model.power)])
    for bar in (max(needed, SURE_SUPPORT), needed, -np.inf):
        if believed := [f for f in found if f[0].support >= bar]:
            break
    least = max(model.log_likelihood for model, *_ in believed) - alike_nats(n) / n
    believed = [f for f in believed if f[0].log_likelihood >= least]
    model, *_, gamma = min(believed, key=lambda f: np.trace(f[0].transition))
    model.by_power = tuple(by_power)
    return model, gamma


def alike_nats(n):
    """Nats between likelihoods of n labels that do not decide between powers of probabilities."""
    return ALIKE_NATS + ALIKE_ROW_NATS * min(n, SUPPORT_ROWS)


def _started(rows, limits, powers, transition=None, near=None, unmix=None):
    """Fits to all rows at their starts, one after the other; the first goes on in between."""
    if transition is not None:
        for power in powers:
            yield TransitionFit(*rows, power=power, unmix=False).held_at(transition, near)
        return
    if unmix is None:
        n, n_classes = rows[0].shape
        unmix = len(powers) > 1 or (n > SUPPORT_ROWS and n_classes > QUADRATIC_CLASSES)
    first = _likeliest_start(*rows, *limits, power=powers[0], unmix=unmix)
    yield first
    if len(powers) > 1:
        transition = first.best.model.transition
        del first
        for power in powers[1:]:
            fit = TransitionFit(*rows, power=power, unmix=unmix)
            yield fit.started_from(transition, keep=True)
        yield _likeliest_start(*rows, *limits, power=powers[-1], unmix=unmix)


def _likeliest_start(scores, given, trusted, max_iter, tol, **options):
    """The fit to all rows, some rounds on from the best of its starts."""
    rows = rows_of_fit(given, trusted, TRIAL_ROWS)
    every = len(rows) == len(given)
    part = (scores, given, trusted)
    if not every:
        part = take_rows(scores, rows), given[rows], None if trusted is None else trusted[rows]
    fit = TransitionFit(*part, **options)
    trials = [fit.started(share) for share in START_NOISE]
    for trial in trials:
        trial.rounds(min(TRIAL_ROUNDS, max_iter), tol)
    likelihood = np.array([trial.model.trace[-1] for trial in trials])
    best = np.flatnonzero(fit.n * (likelihood.max() - likelihood) <= 1)[-1]
    if fit.n <= SUPPORT_ROWS and likelihood[best] - likelihood[0] < START_GAIN:
        best = 0
    if every:
        return trials[best]
    return TransitionFit(scores, given, trusted, start=trials[best], **options)


def rows_of_fit(given: np.ndarray, trusted: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Positions of about `n_rows` rows at most, every class and every trusted row among them.

    Parameters
    ----------
    given : ndarray of shape (n,), int64
        -1 where the label is missing.
    trusted : ndarray of shape (n,), bool, or None
    n_rows : int
    """
    if len(given) <= n_rows:
        return np.arange(len(given))
    sure = np.zeros(len(given), bool) if trusted is None else trusted
    order = np.argsort(given.astype(np.min_scalar_type(-1 - int(given.max()))), kind="stable")
    order = order[~sure[order]]
    size = min(max(n_rows - sure.sum(), n_rows // 2), len(order))
    first = np.diff(given[order], prepend=-2) > 0
    taken = sure.copy()
    taken[order[first]] = True
    taken[order[np.linspace(0, len(order) - 1, size).astype(np.int64)]] = True
    return np.flatnonzero(taken)
