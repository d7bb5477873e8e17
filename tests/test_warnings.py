import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline

import skclean
from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    PrototypeCleaner,
    PurifiedClassifier,
    TransitionCleaner,
    _labels,
)
from skclean.datasets import load_noisy_digits
from skclean.exceptions import LabelsDroppedWarning, NothingToSeparateWarning

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
X, Y = DIGITS.data[:300], DIGITS.target_noisy[:300]
NOTHING = LabelledSamples(X, Y % 3, proba=np.full((300, 3), 1 / 3))
MISSING = np.where(np.arange(300) < 5, -1, Y)

CALLS = {
    "missing labels in a container": (lambda: LabelledSamples(X, MISSING), UserWarning),
    "missing labels in a fit": (lambda: TransitionCleaner().fit(X, MISSING), UserWarning),
    "missing labels in a search": (
        lambda: GridSearchCV(
            Pipeline([("clean", TransitionCleaner()), ("classify", PurifiedClassifier())]),
            {"clean__threshold": [0.5]},
            cv=2,
        ).fit(X, MISSING),
        UserWarning,
    ),
    "a column of labels": (lambda: LabelledSamples(X, Y[:, None]), DataConversionWarning),
    "one Gaussian": (lambda: GMMCleaner().fit(NOTHING), NothingToSeparateWarning),
    "one Gaussian, by a relabeler": (
        lambda: CredibilityRelabeler(cleaner=GMMCleaner()).fit(NOTHING),
        NothingToSeparateWarning,
    ),
    "one Gaussian, in assess": (
        lambda: PrototypeCleaner().assess(NOTHING.given, NOTHING.proba, X),
        NothingToSeparateWarning,
    ),
    "labels lost": (lambda: np.asarray(LabelledSamples(X, Y)), LabelsDroppedWarning),
    "labels lost in scikit-learn": (
        lambda: FeatureUnion([("pca", PCA(2))]).fit_transform(LabelledSamples(X, Y)),
        LabelsDroppedWarning,
    ),
    "labels lost in NumPy": (lambda: np.mean(LabelledSamples(X, Y)), LabelsDroppedWarning),
    "labels lost in SciPy": (lambda: cdist(LabelledSamples(X, Y), X), LabelsDroppedWarning),
    "no convergence": (lambda: TransitionCleaner(max_iter=1).fit(X, Y), ConvergenceWarning),
}


@pytest.mark.parametrize("case", CALLS)
def test_warnings_point_to_the_line_that_called(case):
    call, category = CALLS[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    places = {(w.filename, w.lineno) for w in caught if issubclass(w.category, category)}
    assert places and places <= {(__file__, line) for *_, line in call.__code__.co_lines()}


def test_an_import_that_warns_is_pointed_to(tmp_path):
    folder = tmp_path / "scikit_clean-0.1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-clean\nVersion: 0.1.2\n")
    home = [str(tmp_path), str(Path(skclean.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {home}\n\nimport skclean\n"
    (tmp_path / "of_the_user.py").write_text(code)
    command = [sys.executable, str(tmp_path / "of_the_user.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "of_the_user.py:3: UserWarning: skclean: expected no other" in done.stderr


@pytest.mark.parametrize("where", ["thread", "joblib"])
def test_where_nobody_called_the_warning_points_to_itself(where):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if where == "thread":
            thread = threading.Thread(target=LabelledSamples, args=(X, MISSING))
            thread.start()
            thread.join()
        else:
            Parallel(2, backend="threading")(delayed(LabelledSamples)(X, MISSING) for _ in "ab")
    assert {w.filename for w in caught} == {_labels.__file__}


def test_in_a_process_of_joblib_the_warning_points_to_itself(tmp_path):
    code = """
from joblib import Parallel, delayed
from skclean import LabelledSamples

if __name__ == "__main__":
    y = [0, 1, -1]
    Parallel(2)(delayed(LabelledSamples)([[0.0], [1.0], [2.0]], y) for _ in range(2))
"""
    (tmp_path / "of_the_user.py").write_text(code)
    command = [sys.executable, str(tmp_path / "of_the_user.py")]
    root = str(Path(skclean.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    places = [line for line in done.stderr.splitlines() if "UserWarning: LabelledSamples" in line]
    assert places and all(line.startswith(f"{_labels.__file__}:") for line in places)
