"""MetaReweighter: IEG's exemplar weights and label choice for a head on embeddings."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skclean._array import beside, blocks, to_numpy
from skclean._threads import one_blas_thread
from skclean._validation import Interval, StrOptions
from skclean.base import BaseCleaner
from skclean.cleaners.transition import TransitionCleaner
from skclean.evidence.head import calibrated, fit_scale, head_proba, init_head, least_squares_start
from skclean.evidence.probe_gradient import train_head

#: Mean squared length of the scaled features. The larger, the more a row can teach in one step.
SQUARED_LENGTH = 16.0
#: Exponent of the head's probabilities beside the posterior: it has seen the given labels too.
HEAD_SHARE = 0.25


class MetaReweighter(BaseCleaner):
    """Weigh rows and choose labels by what lowers the loss on trusted rows (IEG).

    A softmax head on the features is trained by algorithm 1 of IEG. Before each step a look-ahead
    tells how the loss on the probe rows depends on the weight of each row of the batch, and on the
    choice between its given label and the head's own guess; see
    `skclean.evidence.probe_gradient`. The step then follows both, mixtures with probe rows, and
    the consistency of two views of a row, the second with noise on its features.

    What is IEG's here are the head, `weight_` and `choice_`. By themselves these rank wrong labels
    worse than the noise-transition model of `TransitionCleaner` does with the trusted rows as
    anchors, so by default the labels come from both, as the product of that model's posterior and
    a power of the head's probabilities. `rule="paper"` takes the labels that IEG trains on, the
    given label and the head's guess blended by `choice_`, and `rule="posterior"` those of
    `TransitionCleaner`, bit for bit.

    The noise-transition model serves the training as well, with so few trusted rows: the head
    starts from least squares on the labels of the model, and the rows of each class that it is
    surest of join the probe rows.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.15
        Labels with a greater `clean_proba` are kept. The others take the class of greatest
        posterior (status corrected); if that is the given label, status unknown. Below one half
        in favour of the given labels: noise that depends on the row, as that of people does, makes
        the posterior doubt too many. With one half, every label is the class of greatest
        probability, as the paper's rule has it.
    hidden_layer_size : int or None, default=None
        Hidden units of the head; None for a linear head.
    rule : {"product", "posterior", "paper"}, default="product"
        Soft labels of the rows of the fit: the posterior of the noise-transition model times the
        head's probabilities to the power of one quarter, that posterior alone, or equations 5-7,
        ``choice_ * onehot(given) + (1 - choice_) * head``, the head alone in rows never drawn.
    n_probe : int, default=50
        Probe rows of a class: the trusted ones and, where there are fewer, the most credible
        others. With 0 the trusted rows alone, as in the paper.
    n_cycles : int, default=2
        Cycles of the learning rate, each half as long again as the one before.
    cycle_length : int, default=500
        Steps of the first cycle.
    learning_rate : float, default=0.1
        At the start of the first cycle.
    batch_size : int, default=100
        Rows of a batch, and probe rows beside them.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    random_state : int, RandomState instance or None, default=0
        Draws batches, noise and mixtures.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    clean_proba_ : ndarray of shape (n,)
        Probability that the given label is right, by `rule`; 1 for trusted rows, NaN in rows
        without a label.
    label_distributions_ : ndarray of shape (n, C)
        Probabilities of the true class, by `rule`. For rows that were not in the fit, the head's
        probabilities and, where there is a given label, the noise transition.
    transduction_ : ndarray of shape (n,)
        Purified labels.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    weight_ : ndarray of shape (n,)
        Exemplar weights omega*, averaged over the batches that a row was in, with mean 1 over the
        rows trained on; 1 for trusted rows, rows without a label and rows never drawn, of which
        there are some where n exceeds the steps times `batch_size`. They replace the weights of
        the container. A row that the head already fits has nothing to teach it and little weight,
        so that this does not rank wrong labels.
    choice_ : ndarray of shape (n,)
        Share of a row's batches in which its given label was preferred to the head's guess
        (lambda* = 1); 1 for trusted rows, NaN in rows never drawn.
    probe_rows_ : ndarray of shape (M,)
        Positions of the probe rows.
    scale_ : FeatureScale
        The map that brings the features to one size.
    params_ : list of arrays
        The head: weights and bias, behind those of the hidden layer if there is one.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row).
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do.

    Raises
    ------
    ValueError
        In `fit`, if `n_probe` is 0 and no row is trusted, or if the training does not stay finite.

    References
    ----------
    Zhang et al., "Distilling Effective Supervision from Severe Label Noise" (IEG), CVPR 2020,
    algorithm 1 and equations 2-9.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean import MetaReweighter
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.5, random_state=0)
    >>> trusted = np.zeros(len(digits.target), dtype=bool)
    >>> trusted[np.flatnonzero(digits.target == digits.target_noisy)[:30]] = True
    >>> cleaner = MetaReweighter(n_cycles=1, cycle_length=100)
    >>> samples = cleaner.fit_transform(digits.data, digits.target_noisy, trusted=trusted)
    >>> bool((samples.labels == digits.target).mean() > 0.95)
    True
    """

    _parameter_constraints: dict = {
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "rule": [StrOptions({"product", "posterior", "paper"})],
        "hidden_layer_size": [Interval(Integral, 1, None, closed="left"), None],
        "n_probe": [Interval(Integral, 0, None, closed="left")],
        "n_cycles": [Interval(Integral, 1, None, closed="left")],
        "cycle_length": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    def __init__(
        self,
        threshold=0.15,
        hidden_layer_size=None,
        *,
        rule="product",
        n_probe=50,
        n_cycles=2,
        cycle_length=500,
        learning_rate=0.1,
        batch_size=100,
        missing_label="auto",
        random_state=0,
        device=None,
    ):
        self.threshold = threshold
        self.hidden_layer_size = hidden_layer_size
        self.rule = rule
        self.n_probe = n_probe
        self.n_cycles = n_cycles
        self.cycle_length = cycle_length
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.missing_label = missing_label
        self.random_state = random_state
        self.device = device

    _in_passes = False

    def _fit_samples(self, samples, groups):
        X, n, trusted = samples.features, len(samples), _mask(samples)
        if not trusted.any() and not self.n_probe:
            raise ValueError(
                "MetaReweighter: expected trusted rows beside n_probe=0, got none; do pass "
                "trusted=mask to fit, or raise n_probe, so that the most credible rows stand in."
            )
        rng = check_random_state(self.random_state)
        model = TransitionCleaner(self.threshold)
        posterior, _ = model._fit_first(samples, groups)
        self.informative_, self.transition_matrix_ = model.informative_, model.model_.transition
        labels = posterior.argmax(axis=1)
        noisy = np.where(trusted, -1, samples.given)
        probe = probe_rows(posterior, samples.given, trusted, self.n_probe)
        self.probe_rows_ = np.sort(probe[0])
        self.scale_ = fit_scale(X, SQUARED_LENGTH)
        start = init_head(
            X.shape[1], posterior.shape[1], self.hidden_layer_size, rng, self.scale_(X[:1, ...])
        )
        with one_blas_thread():
            found = train_head(
                least_squares_start(start, self.scale_, X, labels),
                self.scale_,
                X,
                noisy if (noisy >= 0).any() else samples.given,
                probe,
                n_cycles=self.n_cycles,
                cycle_length=self.cycle_length,
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                rng=rng,
            )
        if not all(np.isfinite(to_numpy(x)).all() for x in found.params):
            raise ValueError(
                "MetaReweighter: expected a training that stays finite, got parameters of the head "
                f"that do not with learning_rate={self.learning_rate}; do lower it."
            )
        self.params_ = calibrated(found.params, self.scale_, X, labels)
        self.choice_ = np.where(trusted, 1, found.choice)
        drawn = np.isfinite(found.omega) & ~trusted
        self.weight_ = np.ones(n)
        if found.omega[drawn].any():
            self.weight_[drawn] = found.omega[drawn] / found.omega[drawn].mean()
        alone = self.rule == "posterior"
        if not alone:
            self._add_head(samples, posterior)
        purified = model._purify(samples, posterior, model.model_ if alone else None)
        return purified._replace(weight=self.weight_)

    def _add_head(self, samples, posterior):
        """Soft labels of the rule in place of the posterior (n, C), not yet normalised."""
        for rows in blocks(len(posterior)):
            head = self._head_proba(samples.features[rows, ...])
            if self.rule == "product":
                posterior[rows] *= head**HEAD_SHARE
                continue
            share = np.nan_to_num(self.choice_[rows])
            posterior[rows] = head * (1 - share[:, None])
            labelled = np.flatnonzero(samples.given[rows] >= 0)
            posterior[rows.start + labelled, samples.given[rows][labelled]] += share[labelled]

    def _head_proba(self, X):
        x = beside(X, self.params_[-1])
        return to_numpy(head_proba(self.params_, self.scale_(x)))

    def _transform_samples(self, samples):
        n = len(samples)
        given = samples._given_codes()
        posterior = np.empty((n, len(samples.classes)), dtype=np.float32)
        for rows in blocks(n):
            posterior[rows] = self._head_proba(samples.features[rows, ...])
            labelled = given[rows, None] >= 0
            posterior[rows] *= np.where(labelled, self.transition_matrix_.T[given[rows]], 1)
        return TransitionCleaner(self.threshold)._purify(samples, posterior, new=True)


def probe_rows(
    posterior: np.ndarray, given: np.ndarray, trusted: np.ndarray, n_probe: int
) -> tuple[np.ndarray, np.ndarray]:
    """The trusted rows, and the most credible ones of classes that have fewer than `n_probe`.

    Parameters
    ----------
    posterior : ndarray of shape (n, C)
        Probability of each true class.
    given : ndarray of shape (n,), int64
    trusted : ndarray of shape (n,), bool
    n_probe : int
        Probe rows of a class. Of the credible ones, no more than half the rows that the class is
        likeliest for.

    Returns
    -------
    rows, codes : ndarray of shape (M,), int64
        Positions and labels, sorted by label.
    """
    rows, codes, best = [], [], posterior.argmax(axis=1)
    for k in range(posterior.shape[1]):
        known = np.flatnonzero(trusted & (given == k))
        others = np.flatnonzero((best == k) & ~trusted)
        wanted = min(max(n_probe - len(known), 0), -(-len(others) // 2))
        surest = others[np.argsort(-posterior[others, k], kind="stable")[:wanted]]
        rows += [known, surest]
        codes.append(np.full(len(known) + len(surest), k))
    return np.concatenate(rows), np.concatenate(codes)


def _mask(samples):
    return np.zeros(len(samples), dtype=bool) if samples.trusted is None else samples.trusted
