import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import CredibilityRelabeler, GMMCleaner, TransitionCleaner
from skclean.interop import PurifyingSampler

RNG = np.random.default_rng(0)
TRUTH = np.arange(300) % 3
X = 3 * np.eye(3, 5)[TRUTH] + RNG.standard_normal((300, 5))
GIVEN = np.where(RNG.random(300) < 0.4, RNG.integers(0, 3, 300), TRUTH)
QUICK = GMMCleaner(estimator=GaussianNB())


def test_rows_of_unknown_label_are_dropped():
    sampler = PurifyingSampler(GMMCleaner())
    X_new, y_new = sampler.fit_resample(X, GIVEN)
    rows = sampler.sample_indices_
    samples = GMMCleaner().fit_transform(X, GIVEN)
    np.testing.assert_array_equal(rows, np.flatnonzero(samples.known))
    np.testing.assert_array_equal(X_new, X[rows])
    np.testing.assert_array_equal(y_new, GIVEN[rows])
    assert 0 < len(rows) < 300 and np.mean(y_new == TRUTH[rows]) > 0.95
    assert sampler.n_features_in_ == 5


def test_labels_are_purified():
    y = np.array(["a", "b", "c"], dtype=object)[GIVEN]
    y[:9] = None
    X_new, y_new = PurifyingSampler().fit_resample(X, y)
    expected = TransitionCleaner().fit_transform(X, y)
    np.testing.assert_array_equal(y_new, expected.labels[expected.known])
    assert y_new.dtype == object and len(X_new) == len(y_new)


def test_steps_of_cleaners_and_trusted_rows():
    steps = PlainPipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())])
    sampler = PurifyingSampler(steps)
    y_new = sampler.fit_resample(X, GIVEN)[1]
    assert np.mean(y_new == TRUTH[sampler.sample_indices_]) > 0.9
    trusted = GIVEN == TRUTH
    sampler = PurifyingSampler(GMMCleaner()).fit(X, GIVEN, trusted=trusted)
    assert np.isin(np.flatnonzero(trusted), sampler.sample_indices_).all()


def test_types_and_dtypes_stay():
    pd = pytest.importorskip("pandas")
    sampler = PurifyingSampler(GMMCleaner())
    for dtype in (np.int8, np.float32, bool):
        y_new = sampler.fit_resample(X.astype(np.float32), (GIVEN > 0).astype(dtype))[1]
        assert y_new.dtype == dtype
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(300) + 1000)
    series = pd.Series(pd.Categorical(np.array(["a", "b", "c"])[GIVEN]), frame.index, name="given")
    X_new, y_new = sampler.fit_resample(frame, series)
    assert list(X_new) == list("abcde") and y_new.name == "given"
    assert y_new.dtype == series.dtype
    np.testing.assert_array_equal(y_new.index, X_new.index)
    np.testing.assert_array_equal(y_new.index, 1000 + sampler.sample_indices_)
    assert sampler.get_feature_names_out().tolist() == list("abcde")
    X_list, y_list = sampler.fit_resample(X.tolist(), GIVEN.tolist())
    assert isinstance(X_list, list) and isinstance(y_list, list)


def test_classes_of_minus_one_and_one():
    y = np.where(GIVEN > 0, 1, -1)
    y_new = PurifyingSampler(GMMCleaner()).fit_resample(X, y)[1]
    samples = GMMCleaner().fit_transform(X, y)
    assert 0 < len(y_new) < 300
    np.testing.assert_array_equal(y_new, samples.labels[samples.known])


def test_what_is_refused():
    with pytest.raises(ValueError, match="'cleaner' parameter of PurifyingSampler"):
        PurifyingSampler("gmm").fit_resample(X, GIVEN)
    with pytest.raises(ValueError, match="PurifyingSampler: expected a cleaner that gives"):
        PurifyingSampler(clone(PlainPipeline([("none", "passthrough")]))).fit_resample(X, GIVEN)
    with pytest.raises(ValueError, match="GMMCleaner: expected labels of at least two classes"):
        PurifyingSampler(GMMCleaner()).fit_resample(X, np.zeros(300))


def test_in_a_pipeline_of_imbalanced_learn():
    pipeline = pytest.importorskip("imblearn.pipeline")
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    model = pipeline.Pipeline(
        [
            ("purify", PurifyingSampler(GMMCleaner())),
            ("balance", over_sampling.SMOTE(random_state=0)),
            ("classify", LogisticRegression()),
        ]
    )
    y = np.where(TRUTH == 0, GIVEN, 1 + GIVEN % 2)
    assert np.isfinite(cross_val_score(model, X, y, cv=3)).all()
    model.fit(X, y)
    assert (model.named_steps["classify"].n_iter_ > 0).all()
    assert len(model.predict(X)) == 300  # Nothing is dropped where there is nothing to fit.
    search = GridSearchCV(model, {"purify__cleaner__threshold": [0.2, 0.8]}, cv=3)
    search.fit(X, y)
    assert search.best_params_["purify__cleaner__threshold"] in (0.2, 0.8)


@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_param_validation",
        "check_sampler_get_feature_names_out",
        "check_sampler_get_feature_names_out_pandas",
        "check_samplers_2d_target",
        "check_samplers_fit_resample",
        "check_samplers_list",
        "check_samplers_one_label",
        "check_samplers_pandas",
        "check_samplers_preserve_dtype",
        "check_samplers_sampling_strategy_fit_resample",
        "check_target_type",
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_checks_of_imbalanced_learn(check):
    # Left out are those for sparse, missing and text features, for labels of one column a class,
    # and for samplers with a sampling_strategy or imbalanced-learn's own tags.
    checks = pytest.importorskip("imblearn.utils.estimator_checks")
    getattr(checks, check)("PurifyingSampler", PurifyingSampler(QUICK))


@parametrize_with_checks([PurifyingSampler(QUICK)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
