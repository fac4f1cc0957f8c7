"""Figures beside those of the packages that publish them: same images, weights.

The packages (`pip install difjax[parity]`) read folders of PNG files by their
own ways in; no weights are fetched: all have the random ones of the recipe in
`tests/interop/inception_test.py`. Their differences to ours are printed.

  python -m pytest -m slow -s tests/metrics/parity_test.py
"""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest
from PIL import Image

from difjax.metrics import (
  frechet,
  kernel,
  precision_recall,
  resize,
  scores,
  statistics,
)
from tests.interop import inception_test as recipe

pytestmark = pytest.mark.slow
LIMIT = 1e-3  # relative
COUNTS = (40, 36)  # images generated and real, no multiples of a batch
BATCH = 16


def drawn(seed, count, sharpness):
  """Smooth noise of one colour and another, uint8 [count, 32, 32, 3]."""
  rng = np.random.default_rng(seed)
  waves = rng.normal(size=(count, 32, 32, 3))
  damp = np.exp(-np.hypot(*np.meshgrid(
    np.fft.fftfreq(32), np.fft.fftfreq(32))) * sharpness)
  smooth = np.fft.ifft2(
    np.fft.fft2(waves, axes=(1, 2)) * damp[..., None], axes=(1, 2)).real
  smooth /= smooth.std()
  tint = rng.normal(0, 20, (count, 1, 1, 3))
  return np.clip(127.5 + 50 * smooth + tint, 0, 255).astype(np.uint8)


IMAGES = dict(
  generated=drawn(0, COUNTS[0], 12.0), real=drawn(1, COUNTS[1], 20.0))


@functools.cache
def ours(convention):
  """Our activations of the generated and of the real images."""
  extractor = recipe.extractor(convention)
  select = operator.attrgetter('pool_3', 'spatial', 'unbiased')
  return [extractor(images, select, BATCH) for images in IMAGES.values()]


def frechet_of(a, b):
  gaussians = (statistics.Moments.of(x).gaussian for x in (a, b))
  return frechet.frechet_distance(*gaussians)


def agree(name, mine, theirs, limit=LIMIT):
  gap = abs(mine - theirs) / abs(theirs)
  print(f'{name}: ours {mine:.8g}, theirs {theirs:.8g}, relative {gap:.1e}')
  assert gap <= limit, name


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='no torch: difjax[parity]')


@pytest.fixture(scope='module')
def state(torch):
  """The random weights as the packages load them."""
  arrays = recipe.weights()
  found = {name: torch.as_tensor(array) for name, array in arrays.items()}
  for name in arrays:
    if name.endswith('.bn.bias'):  # a counter beside each norm
      found[name.replace('bias', 'num_batches_tracked')] = torch.tensor(0)
  return found


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Folders of PNG files."""
  found = []
  for name, images in IMAGES.items():
    folder = tmp_path_factory.mktemp(name)
    for i, image in enumerate(images):
      Image.fromarray(image).save(folder / f'{i:06d}.png')
    found.append(str(folder))
  return found


@pytest.fixture
def unfetched(monkeypatch, state):
  """Gives a module the random weights where it would fetch the published."""
  return lambda module: monkeypatch.setattr(
    module, 'load_state_dict_from_url', lambda *_, **__: state)


def test_pytorch_fid(folders, unfetched):
  package = pytest.importorskip(
    'pytorch_fid.fid_score', reason='no pytorch-fid: difjax[parity]')
  unfetched(pytest.importorskip('pytorch_fid.inception'))
  theirs = package.calculate_fid_given_paths(
    folders, BATCH, 'cpu', 2048, num_workers=0)
  (a, _, _), (b, _, _) = ours(resize.PYTORCH_FID)
  agree('pytorch-fid FID', frechet_of(a, b), theirs)


def test_pytorch_fid_on_spatial_features(torch, unfetched):
  """Seven channels of 17 x 17 pixels as ADM has them, by a hook."""
  package = pytest.importorskip(
    'pytorch_fid.inception', reason='no pytorch-fid: difjax[parity]')
  score = pytest.importorskip('pytorch_fid.fid_score')
  unfetched(package)
  network, kept = package.InceptionV3([2]).eval(), []
  wide = [layer for layer in network.modules()
          if isinstance(layer, package.FIDInceptionC)]
  wide[2].branch1x1.register_forward_hook(
    lambda layer, given, found: kept.append(found[:, :7]))
  with torch.no_grad():
    for images in IMAGES.values():
      network(torch.as_tensor(images).permute(0, 3, 1, 2) / 255)
  theirs = [np.asarray(x.permute(0, 2, 3, 1).flatten(1), float) for x in kept]
  mine = [spatial for _, spatial, _ in ours(resize.PYTORCH_FID)]
  moments = [m for x in theirs for m in (x.mean(0), np.cov(x, rowvar=False))]
  agree('pytorch-fid sFID', frechet_of(*mine),
        score.calculate_frechet_distance(*moments))


def test_torch_fidelity(torch, state, folders, tmp_path):
  package = pytest.importorskip(
    'torch_fidelity', reason='no torch-fidelity: difjax[parity]')
  torch.save(state, tmp_path / 'weights.pth')
  theirs = package.calculate_metrics(
    input1=folders[0], input2=folders[1], cuda=False, batch_size=BATCH,
    fid=True, kid=True, isc=True, prc=True, isc_splits=4, kid_subsets=20,
    kid_subset_size=24, verbose=False, cache=False, save_cpu_ram=True,
    feature_extractor='inception-v3-compat',
    feature_extractor_weights_path=str(tmp_path / 'weights.pth'))
  (a, _, logits), (b, _, _) = ours(resize.TENSORFLOW)
  agree('torch-fidelity FID', frechet_of(a, b),
        theirs['frechet_inception_distance'])
  parts = scores.inception_score(logits, scores.Shares(count=4))
  # Of random weights it is little above 1, so what it has above 1 is compared.
  agree('torch-fidelity IS - 1', parts.mean - 1,
        theirs['inception_score_mean'] - 1)
  agree('torch-fidelity IS std', parts.std, theirs['inception_score_std'])
  pairs = kernel.kernel_distance(a, b, pairs=kernel.Draws(count=20, size=24))
  agree('torch-fidelity KID', pairs.mean,
        theirs['kernel_inception_distance_mean'])
  agree('torch-fidelity KID std', pairs.std,
        theirs['kernel_inception_distance_std'])
  overlap = precision_recall.overlap(a, b, k=3)
  agree('torch-fidelity precision', overlap.precision, theirs['precision'])
  agree('torch-fidelity recall', overlap.recall, theirs['recall'])
  agree('torch-fidelity F', overlap.f_score, theirs['f_score'])


@pytest.mark.parametrize('mode', ['clean', 'legacy_pytorch'])
def test_clean_fid_and_prdc(torch, monkeypatch, folders, unfetched, mode):
  package = pytest.importorskip(
    'cleanfid.fid', reason='no clean-fid: difjax[parity]')
  prdc = pytest.importorskip('prdc', reason='no prdc: difjax[parity]')
  inception = pytest.importorskip('cleanfid.inception_pytorch')
  unfetched(inception)

  class Scripted(torch.nn.Module):
    """Stands for the fetched TorchScript: its range, and the same network."""

    def __init__(self, *_, **__):
      super().__init__()
      self.network = inception.InceptionV3(
        [3], resize_input=False, normalize_input=False)

    def forward(self, x):
      return self.network((x - 128) / 128)[0].flatten(1)

  monkeypatch.setattr('cleanfid.features.InceptionV3W', Scripted)
  model = package.build_feature_extractor(mode, torch.device('cpu'), False)
  a, b = (
    package.get_folder_features(
      folder, model, num_workers=0, batch_size=BATCH, mode=mode,
      device=torch.device('cpu'), verbose=False) for folder in folders)
  conventions = dict(clean=resize.CLEAN_FID, legacy_pytorch=resize.PYTORCH_FID)
  (x, _, _), (y, _, _) = ours(conventions[mode])
  agree(f'clean-fid {mode} FID', frechet_of(x, y),
        package.fid_from_feats(a, b))
  whole = kernel.Draws(count=1, size=COUNTS[1])  # every real one, as few
  theirs = package.kernel_distance(a[:COUNTS[1]], b, num_subsets=1)
  agree(f'clean-fid {mode} KID',
        kernel.kernel_distance(x[:COUNTS[1]], y, pairs=whole).mean, theirs)
  for k in (3, 5):
    theirs = prdc.compute_prdc(real_features=b, fake_features=a, nearest_k=k)
    mine = precision_recall.overlap(x, y, k=k, closed=False)
    for name, value in theirs.items():
      agree(f'prdc k={k} {name}', getattr(mine, name), float(value))
