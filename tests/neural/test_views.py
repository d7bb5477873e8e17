import pytest

torch = pytest.importorskip("torch")

from skclean.neural.views import FeatureNoise, feature_views, image_views  # noqa: E402


def generator():
    return torch.Generator().manual_seed(0)


def test_noise_has_its_spread():
    x = torch.full((400, 50), 3.0)
    view = FeatureNoise(0.5).bind(torch.zeros(50), 2.0)(x, generator())
    assert abs(float((view - x).std()) - 1) < 0.02 and abs(float((view - x).mean())) < 0.02
    assert (x == 3).all()


def test_dropped_features_are_the_mean():
    x, mean = torch.full((400, 50), 3.0), torch.arange(50.0)
    view = FeatureNoise(0.0, 0.3).bind(mean, 1.0)(x, generator())
    dropped = view != x
    assert torch.equal(view[dropped], mean.expand_as(x)[dropped])
    assert abs(float(dropped.float().mean()) - 0.3 * 49 / 50) < 0.02


def test_generator_decides():
    x = torch.zeros(5, 4)
    for view in feature_views():
        view.bind(torch.zeros(4), 1.0)
        assert torch.equal(view(x, generator()), view(x, generator()))
        drawn = generator()
        assert not torch.equal(view(x, drawn), view(x, drawn))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (1, 5), (2, 2)])
def test_image_views_keep_the_shape_and_do_not_mirror_gray_images(size, colour):
    images = torch.rand(6, 3, *size, generator=generator())
    for view in image_views(size, colour=colour):
        assert view(images, generator()).shape == images.shape
        assert view.flip == (0.5 if colour else 0)


def test_bad_noise_is_an_error():
    with pytest.raises(ValueError, match="noise"):
        FeatureNoise(-1).bind(torch.zeros(2), 1.0)
