"""Theirs where it is installed, and one line where it is not."""

from __future__ import annotations

import contextlib
import sys
import types

import jax
import numpy as np
import pytest

from difjax import errors
from difjax.evaluation import feature_peer


def test_without_torch_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pytorch_fid', None)
  with pytest.raises(errors.ConfigError, match='pip install torch') as error:
    feature_peer.PytorchFidPeer().actions()
  assert '\n' not in str(error.value)


class Tensor:
  """An array that knows where it is."""

  def __init__(self, array, place='cpu'):
    self.array, self.place = array, place

  def permute(self, *axes):
    """Transposes."""
    return Tensor(self.array.transpose(axes), self.place)

  def to(self, place):
    """Moves it."""
    return Tensor(self.array, place)

  def cpu(self):
    """Moves it back."""
    return self.to('cpu')

  def flatten(self, first):
    """Joins the later axes."""
    shape = (*self.array.shape[:first], -1)
    return Tensor(self.array.reshape(shape), self.place)

  def numpy(self):
    """Returns what the host has."""
    assert self.place == 'cpu'
    return self.array

  def __truediv__(self, other):
    """Divides."""
    return Tensor(self.array / other, self.place)


class Network:
  """Stands for Inception: the mean over pixels."""

  def __init__(self, blocks):
    self.place = 'cpu'

  def eval(self):
    """Does nothing."""
    return self

  def to(self, place):
    """Moves it."""
    self.place = place
    return self

  def parameters(self):
    """Has none."""
    return []

  def __call__(self, images):
    """Reads images where it is."""
    assert images.place == self.place
    return [Tensor(images.array.mean((2, 3), keepdims=True), images.place)]


@pytest.fixture
def torch(monkeypatch):
  made, theirs = types.ModuleType('torch'), types.ModuleType('pytorch_fid')
  made.__version__, made.as_tensor = '2.0', Tensor
  made.no_grad = contextlib.nullcontext
  made.nn = types.SimpleNamespace(Module=types.SimpleNamespace(
    load_state_dict=None
  ))  # fmt: skip
  matmul = types.SimpleNamespace(allow_tf32=False)
  made.backends = types.SimpleNamespace(
    cuda=types.SimpleNamespace(matmul=matmul)
  )
  device = lambda there: types.SimpleNamespace(
    is_available=lambda: there, synchronize=None
  )
  made.cpu, made.cuda = device(True), device(True)
  theirs.inception = types.SimpleNamespace(
    InceptionV3=Network, load_state_dict_from_url=None
  )
  monkeypatch.setitem(sys.modules, 'torch', made)
  monkeypatch.setitem(sys.modules, 'pytorch_fid', theirs)
  return made


@pytest.mark.parametrize(
  ('backend', 'place'), [('cpu', 'cpu'), ('gpu', 'cuda')]
)
def test_it_runs_where_jax_does(backend, place, torch, monkeypatch):
  placed, call = [], Network.__call__

  def noted(self, images):
    placed.append(images.place)
    return call(self, images)

  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(Network, '__call__', noted)
  peer = feature_peer.PytorchFidPeer(batch_size=2, side=4)
  found = peer.actions()[1]['features']()
  assert placed == [place]
  np.testing.assert_allclose(found, peer._images().mean((1, 2)) / 255)


def test_one_that_runs_elsewhere_is_no_peer(torch, monkeypatch):
  torch.cuda.is_available = lambda: False
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  with pytest.raises(errors.ConfigError, match='not run on the gpu'):
    feature_peer.PytorchFidPeer().actions()
