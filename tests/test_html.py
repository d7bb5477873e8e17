"""What notebooks show."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.pipeline import Pipeline

import skclean
from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.datasets import make_symmetric_noise
from skclean.decision.summary import LabelAudit

X, TRUTH = make_blobs(200, centers=3, n_features=5, random_state=0)
GIVEN = make_symmetric_noise(TRUTH, 0.3, random_state=0)[0]
ESTIMATORS = [name for name in skclean.__all__ if hasattr(getattr(skclean, name), "get_params")]
EVIL = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """The cells of each table, and the tags and attributes that were met."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.tags, self.sources, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name == "src"]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag != "img":
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def test_a_purified_container():
    samples = CredibilityRelabeler().fit_transform(X, GIVEN)
    page = Page(samples._repr_html_())
    statuses, classes, rows = page.tables
    found = {name: int(n) for name, n, _ in statuses[1:]}
    assert found == {s: int(np.sum(samples.status == s)) for s in set(samples.status)}
    for k, (name, given, purified) in enumerate(classes[1:4]):
        known = samples.labels[samples.known]
        assert (name, int(given), int(purified)) == (str(k), sum(GIVEN == k), sum(known == k))
    assert rows[0] == ["Row", "Given", "Label", "Status", "P(given right)", "P(predicted right)"]
    assert [row[1] for row in rows[1:]] == [str(label) for label in GIVEN[:5]]
    assert not page.open and "img" not in page.tags
    assert "200 rows · 5 features · float64 · 3 classes" in samples._repr_html_()


def test_everything_is_escaped():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:4], index=[EVIL] * 4)
    samples = LabelledSamples(frame, [EVIL, "b", EVIL, None])
    html = samples._repr_html_()
    page = Page(html)
    assert "script" not in page.tags and EVIL not in html
    assert page.tables[0][1] == [EVIL, "2"]
    assert page.tables[1][1] == [EVIL, EVIL]
    audit = LabelAudit(10, 3.0, (2.0, 4.0), 3, False, [(EVIL, 0.5)])
    page = Page(audit._repr_html_())
    assert page.tables[0][1] == [EVIL, "50 %"] and "script" not in page.tags


@pytest.mark.parametrize("shape", [(200, 8, 8), (200, 8, 8, 3), (200, 3, 8, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_small_images_are_shown(shape, dtype):
    images = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    html = LabelledSamples(X, GIVEN, inputs=images)._repr_html_()
    sources = Page(html).sources
    assert len(sources) == 5 and len(html) < 100_000
    assert all(re.match("data:image/(png|webp|jpeg);base64,", source) for source in sources)


@pytest.mark.parametrize("inputs", [np.array(["a.png"] * 200), np.zeros((200, 7)), np.arange(200)])
def test_inputs_that_are_no_arrays_of_images(inputs):
    assert not Page(LabelledSamples(X, GIVEN, inputs=inputs)._repr_html_()).sources


def test_of_many_classes_those_that_changed_most():
    given = np.repeat(np.arange(50), 4)
    labels = np.where(given == 7, 8, given)
    samples = LabelledSamples(X, given, labels=labels, status=["corrected"] * 200)
    _, classes, _ = Page(samples._repr_html_()).tables
    assert len(classes) == 12 and classes[-1][0] == "40 others"
    assert ["7", "4", "0"] in classes and ["8", "4", "8"] in classes
    assert sum(int(row[1]) for row in classes[1:]) == 200


@pytest.mark.parametrize(
    "samples",
    [
        LabelledSamples(X),
        LabelledSamples(X, GIVEN)[:0],
        LabelledSamples(X[:2], [None, 1], classes=[0, 1]),
        LabelledSamples(X[:2], [0, 1], readable=np.array([True, False])),
        LabelledSamples(X[:2], classes=[0, 1], proba=[[0.5, 0.5], [0.2, 0.8]]),
        TransitionCleaner().fit(X, GIVEN).transform(X + 1),
    ],
)
def test_any_container_can_be_shown(samples):
    assert not Page(samples._repr_html_()).open


def test_an_audit():
    audit = GMMCleaner().fit(X, GIVEN).audit()
    html = audit._repr_html_()
    assert str(audit).splitlines()[0] in html
    shown = [row[0] for row in Page(html).tables[0][1:]]
    assert shown == [str(label) for label, _ in audit.worst_classes]
    assert not Page(TransitionCleaner().fit(X, TRUTH).audit()._repr_html_()).tables


@pytest.mark.parametrize("name", ESTIMATORS)
def test_diagrams_of_estimators_link_to_no_page_that_is_not_there(name):
    estimator = getattr(skclean, name)()
    assert name in estimator._repr_html_()
    assert estimator._get_doc_link() == ""


def test_the_diagram_of_a_fitted_pipeline():
    pipe = Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())])
    assert "Not fitted" in pipe._repr_html_()
    html = pipe.fit(X, GIVEN)._repr_html_()
    assert "Fitted" in html and "GMMCleaner" in html and "CredibilityRelabeler" in html
