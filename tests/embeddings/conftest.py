import pytest


@pytest.fixture(scope="module")
def pil():
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def files(tmp_path, pil, request):
    """PNG files of the module's COLOUR."""
    colour = request.module.COLOUR
    paths = [tmp_path / f"{i:02}.png" for i in range(len(colour))]
    for path, image in zip(paths, colour):
        pil.fromarray(image).save(path)
    return paths
