import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits
from skclean.inspection._neighbours import nearest_rows, reference_rows
from skclean.inspection._report_data import class_table, confusion
from skclean.inspection._report_rows import suspicious_rows
from skclean.inspection.report import _opened_template, write_report

pytest.importorskip("jinja2")

RNG = np.random.default_rng(0)
TRUTH = np.arange(300) % 3
X = 3 * np.eye(3, 6)[TRUTH] + 1.1 * RNG.standard_normal((300, 6))
GIVEN = np.where(RNG.random(300) < 0.3, RNG.integers(0, 3, 300), TRUTH)
NAMES = np.array(["ant", "bee", "cow"])
MARKUP = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "{{ 7 * 7 }} {% raw %}",
    "line\nbreak",
    "שלום 😀",
    "a\u2028b",
    "half \udc80",
]


def purified(n_classes=3, n=60, **fields):
    """Rows of which a third is corrected, a sixth unknown."""
    classes = fields.pop("classes", np.array([f"class_{k:04d}" for k in range(n_classes)]))
    rng, given = np.random.default_rng(1), np.arange(n) % len(classes)
    label = np.where(np.arange(n) % 2, (given + 1) % len(classes), given)
    proba = np.full((n, len(classes)), 0.1 / (len(classes) - 1))
    proba[np.arange(n), label] = 0.9
    status = np.where(np.arange(n) % 2, "corrected", "kept")
    fields = {
        "proba": proba,
        "labels": classes[label],
        "status": np.where(np.arange(n) % 6 == 1, "unknown", status),
        "clean_proba": np.where(label == given, 0.95, 0.1 * rng.random(n)),
    } | fields
    return LabelledSamples(rng.normal(size=(n, 4)), classes[given], classes=classes, **fields)


class Page(HTMLParser):
    """Tags, text and embedded data of a page."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self._inside = [], "", None
        self.blocks = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.data = json.loads(self.blocks["data"])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        self._inside = None if tag in ("script", "style") else self._inside

    def handle_data(self, data):
        if self._inside:
            self.blocks[self._inside] = self.blocks.get(self._inside, "") + data
        else:
            self.text += data


def report(tmp_path, samples, **settings):
    return Page(write_report(samples, tmp_path / "report.html", **settings))


def test_it_says_what_the_audit_says(tmp_path):
    cleaner = TransitionCleaner()
    page = report(tmp_path, cleaner.fit_transform(X, NAMES[GIVEN]), cleaner=cleaner)
    audit = cleaner.audit()
    low, high = audit.interval
    assert f"between {low:.0f} and {high:.0f}" in page.text
    assert f"{100 * audit.n_wrong / audit.n_labels:.1f} % of 300" in page.text
    assert audit.worst_classes[0][0] in page.text
    assert "Cleaned by TransitionCleaner." in page.text
    assert len(page.data["rows"]) == audit.n_flagged


@pytest.mark.parametrize(
    "cleaner, mixtures",
    [
        (GMMCleaner(), 1),
        (GMMCleaner(class_aware=True), 1),
        (Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())]), 2),
        (CredibilityRelabeler(), 2),
        (PrototypeCleaner(max_iter=3), 1),
        (RankingCleaner(), 0),
        (AutoPurifier(), 0),
    ],
)
def test_mixtures_of_any_cleaner(tmp_path, cleaner, mixtures):
    page = report(tmp_path, cleaner.fit_transform(X, GIVEN), cleaner=cleaner)
    assert page.text.count("Components:") == mixtures
    assert mixtures or "Histogram of 300 rows." in page.text
    drawn = [attrs["d"] for tag, attrs in page.tags if tag == "path"]
    assert len(drawn) == 2 * mixtures
    assert "nan" not in " ".join(drawn)


def test_a_later_batch_is_counted_by_its_own_rows(tmp_path):
    cleaner = GMMCleaner().fit(X, GIVEN)
    page = report(
        tmp_path, cleaner.transform(LabelledSamples(X[:50] + 0.01, GIVEN[:50])), cleaner=cleaner
    )
    assert "% of 50" in page.text and "Histogram of 300 rows" in page.text


def test_without_a_cleaner_there_is_no_interval(tmp_path):
    page = report(tmp_path, GMMCleaner().fit_transform(X, GIVEN))
    assert "Wrong labels, estimated" in page.text and "between" not in page.text.split("Classes")[0]


def test_a_ranking_is_no_number_of_labels(tmp_path):
    cleaner = RankingCleaner(calibrate=False)
    page = report(tmp_path, cleaner.fit_transform(X, GIVEN), cleaner=cleaner)
    assert "is not known" in page.text and "Wrong labels, estimated" not in page.text
    assert "Score of given" in page.text and "Given is right" not in page.text
    assert page.data["ranking"] and page.data["rows"][0]["near"]
    assert all("probability" not in row["why"].split(",")[0] for row in page.data["rows"])
    relabeler = CredibilityRelabeler(cleaner=cleaner)
    page = report(tmp_path, relabeler.fit_transform(X, GIVEN), cleaner=relabeler, overwrite=True)
    assert "is not known" in page.text and "Wrong labels, estimated" not in page.text


@pytest.mark.parametrize("few", [True, False])
def test_a_cleaner_that_cannot_tell_says_so(tmp_path, few):
    digits = load_noisy_digits(noise_rate=0.3, random_state=0)
    features, given = digits.data[:40], digits.target_noisy[:40]
    if not few:
        features = np.random.default_rng(0).standard_normal((300, 6))
        given = GIVEN
    cleaner = AutoPurifier(missing_label=-1)
    samples = cleaner.fit_transform(features, np.where(np.arange(len(given)) < 3, -1, given))
    assert cleaner.left_alone_ and not cleaner.audit().informative
    page = report(tmp_path, samples, cleaner=cleaner)
    said = "The evidence is too weak" if few else "The evidence does not predict"
    assert f"Cannot tell. {said}" in page.text and "was left as it was given" not in page.text
    for number in (
        "look clean",
        "Wrong (estimated)",
        "Histogram",
        "Worst class",
        ">.99",
        "believed.",
    ):
        assert number not in page.text
    assert len(page.data["rows"]) == 3 and all(row["p"] is None for row in page.data["rows"])
    assert "most flagged labels first" in page.text


def test_strings_are_never_markup(tmp_path):
    classes = np.unique(np.array(MARKUP))
    n = 60
    samples = purified(classes=classes)
    ids = [f"{MARKUP[i % len(MARKUP)]}{i}" for i in range(n)]
    texts = [MARKUP[-i % len(MARKUP)] for i in range(n)]
    page = report(tmp_path, samples, ids=ids, texts=texts, title=MARKUP[0])
    plain = report(tmp_path / "..", purified(len(classes)), overwrite=True)
    seen = {tag for tag, _ in page.tags}
    assert seen <= {tag for tag, _ in plain.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    rows = page.data["rows"]
    assert {row["id"] for row in rows} <= set(ids) and {row["text"] for row in rows} <= set(texts)
    assert set(page.data["labels"]) <= set(classes)
    assert "</script><script>alert(1)" in page.text  # Shown, not run.


def test_nothing_is_loaded_and_nothing_else_may_run(tmp_path):
    page = report(tmp_path, purified(inputs=np.zeros((60, 4, 4), np.uint8)))
    for tag, attrs in page.tags:
        for name in ("src", "href", "action", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert "style" not in attrs
    policy = next(
        a["content"]
        for t, a in page.tags
        if t == "meta" and "content" in a and "default" in a["content"]
    )
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "http" not in re.sub(r"http-equiv", "", page.source)


def test_worst_rows_first_and_no_more_than_asked(tmp_path):
    samples = purified()
    rows = suspicious_rows(samples)
    assert (np.diff(samples.clean_proba[rows]) >= 0).all()
    assert set(samples.status[rows]) == {"corrected", "unknown"} and len(rows) == 30
    page = report(tmp_path, samples, max_rows=7)
    assert [row["id"] for row in page.data["rows"]] == [str(r) for r in rows[:7]]
    assert "The 7 most suspicious of 30 rows" in page.text
    first, data = page.data["rows"][0], page.data
    assert data["labels"][first["g"]] == samples.given_labels()[rows[0]]
    assert data["labels"][first["s"]] == samples.labels[rows[0]]
    assert first["p"] == pytest.approx(samples.clean_proba[rows[0]], abs=1e-4)


def test_rows_without_probabilities_labels_or_readable_input(tmp_path):
    samples = LabelledSamples(
        np.eye(5),
        ["a", "b", None, "b", "a"],
        classes=["a", "b"],
        proba=[[0.2, 0.8], [0.5, 0.5], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6]],
        labels=["b", "a", "b", "b", "b"],
        status=["corrected", "kept", "predicted", "kept", "unknown"],
        readable=np.array([True, False, True, True, True]),
    )
    page = report(tmp_path, samples)
    rows = {row["id"]: row for row in page.data["rows"]}
    assert list(rows) == ["0", "4", "2", "1"]
    assert rows["1"]["s"] == -1 and rows["2"]["g"] == -1
    assert all(row["p"] is None for row in rows.values())
    assert "is not known" in page.text


@pytest.mark.parametrize("status", ["kept", "unknown"])
def test_one_row(tmp_path, status):
    page = report(tmp_path, LabelledSamples([[0.0]], ["a"], classes=["a", "b"], status=[status]))
    assert "1 row ·" in page.text
    assert ("No row is suspicious" in page.text) == (status == "kept")


def test_a_thousand_classes_and_large_texts_stay_below_five_megabytes(tmp_path):
    samples = purified(1000, 12_000)
    page = report(tmp_path, samples, max_rows=6000, texts=["long <b> ü " * 200] * 12_000)
    assert len(page.source.encode()) < 5e6
    assert 500 < len(page.data["rows"]) < 6000
    assert f"The {len(page.data['rows']):,} most suspicious of 6,000 rows" in page.text


def test_what_json_writes_longer_counts(tmp_path):
    page = report(tmp_path, purified(2, 4000), max_rows=4000, texts=["<&'>" * 500] * 4000)
    assert len(page.source.encode()) < 5e6 and len(page.data["rows"]) > 100
    names = np.array([f"{k:04d}" + "<" * 4000 for k in range(300)])
    page = report(tmp_path, purified(classes=names, n=600), max_rows=600, overwrite=True)
    assert len(page.source.encode()) < 5e6
    rows, labels = page.data["rows"], page.data["labels"]
    used = {place for row in rows for place in (row["g"], row["s"])}
    assert 5 < len(rows) < 300 and used <= set(range(len(labels)))


@pytest.mark.parametrize("pillow", [True, False])
def test_large_pictures_stay_below_five_megabytes(tmp_path, monkeypatch, pillow):
    if not pillow:
        monkeypatch.setattr("skclean.inspection._thumbnails._lossy", lambda image: None)
    noise = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8)
    samples = purified(n=400, inputs=noise[np.arange(400) % 60])
    page = report(tmp_path, samples)
    assert len(page.source.encode()) < 5e6
    assert page.data["pictures"]


def test_ids_come_from_the_index_and_must_differ(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(300)])
    samples = GMMCleaner().fit_transform(frame, GIVEN)
    page = report(tmp_path, samples)
    assert page.data["rows"][0]["id"].startswith("row ")
    twice = GMMCleaner().fit_transform(frame.set_axis([0] * 300), GIVEN)
    with pytest.raises(ValueError, match="ids that differ.*ids=range"):
        write_report(twice, tmp_path / "other.html")
    with pytest.raises(ValueError, match="id for every row, got none in row 1"):
        write_report(samples, tmp_path / "other.html", ids=[0.0, np.nan, *range(298)])
    with pytest.raises(ValueError, match="texts of 300 rows.*got 2"):
        write_report(samples, tmp_path / "other.html", texts=["a", "b"])


def test_missing_texts(tmp_path):
    texts = [None, np.nan, "said"] * 20
    page = report(tmp_path, purified(), texts=texts)
    for row in page.data["rows"]:
        assert row["text"] == ("said" if int(row["id"]) % 3 == 2 else None)


def test_missing_values_of_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    page = report(tmp_path, purified(), texts=pd.Series([pd.NA, "said"] * 30, dtype="string"))
    for row in page.data["rows"]:
        assert row["text"] == ("said" if int(row["id"]) % 2 else None)
    with pytest.raises(ValueError, match="id for every row, got none in row 1"):
        write_report(purified(), tmp_path / "r.html", ids=[0, pd.NA, *range(58)], overwrite=True)


def test_same_rows_same_report(tmp_path):
    first = report(tmp_path, purified()).data["report"]
    assert report(tmp_path, purified(), overwrite=True).data["report"] == first
    other = report(tmp_path, purified(), overwrite=True, ids=np.arange(60) + 1)
    assert other.data["report"] != first


def test_neighbours_are_trusted_rows_or_sure_ones(tmp_path):
    trusted = np.arange(60) % 4 == 0
    status = np.where(trusted, "trusted", np.where(np.arange(60) % 2, "corrected", "kept"))
    samples = purified(trusted=trusted, status=status)
    data = report(tmp_path, samples).data
    assert data["trusted"] and {int(r) for r in data["refs"]} <= set(np.flatnonzero(trusted))
    row = data["rows"][0]
    distance = np.linalg.norm(samples.features - samples.features[row["row"]], axis=1)
    distance[~trusted] = np.inf
    assert row["near"] == np.argsort(distance)[:3].tolist()
    rows, by_trust = reference_rows(purified())
    assert not by_trust and set(purified().status[rows]) == {"kept"}


def test_neighbours_in_blocks(monkeypatch):
    features = np.random.default_rng(0).normal(size=(100, 3))
    features[[3, 60]] = np.nan
    rows, references = np.arange(10), np.arange(10, 100)
    expected = nearest_rows(features, rows, references, 4)
    monkeypatch.setattr("skclean.inspection._neighbours._BLOCK", 7)
    np.testing.assert_array_equal(nearest_rows(features, rows, references, 4), expected)
    assert (expected[3] == -1).all() and 60 not in expected
    few = nearest_rows(features, rows, references[:2], 4)
    assert (few[0] >= 0).tolist() == [True, True, False, False]


def test_counts_of_classes_and_changes():
    samples = purified()
    table = class_table(samples, True)
    given, known = samples.given_labels(), samples.known
    for row in table:
        assert row["given"] == np.sum(given == row["name"])
        assert row["purified"] == np.sum(samples.labels[known] == row["name"])
        judged = given == row["name"]
        assert row["wrong"] == pytest.approx(np.sum(1 - samples.clean_proba[judged]))
    found = confusion(samples)
    assert sum(cell["count"] for row in found["rows"] for cell in row["cells"]) == 60
    assert found["withheld"] == 10 and sum(flow["count"] for flow in found["flows"]) == 20
    withheld = GMMCleaner().fit_transform(X, GIVEN)
    assert confusion(withheld)["what"] == "suggested" and confusion(withheld)["flows"]


def test_files_are_not_overwritten_and_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="do name another, or pass overwrite=True"):
        write_report(purified(), path)
    monkeypatch.setattr("skclean._files.os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(purified(), path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "mine"
    monkeypatch.undo()
    assert write_report(purified(), str(path), overwrite=True) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_what_it_refuses(tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="got ndarray; do pass what transform"):
        write_report(X, path)
    with pytest.raises(ValueError, match="no given labels; do pass LabelledSamples"):
        write_report(GMMCleaner().fit(X, GIVEN).transform(X + 9)._replace(given=None), path)
    with pytest.raises(ValueError, match="no cleaner judged; do pass what fit_transform"):
        write_report(LabelledSamples(X, GIVEN), path)
    with pytest.raises(ValueError, match="max_rows of at least 1, got 0"):
        write_report(purified(), path, max_rows=0)
    with pytest.raises(NotFittedError):
        write_report(purified(), path, cleaner=GMMCleaner())
    assert not path.exists()


def test_jinja2_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    _opened_template.cache_clear()
    with pytest.raises(ImportError, match=r"skclean\[report\]"):
        write_report(purified(), tmp_path / "report.html")
