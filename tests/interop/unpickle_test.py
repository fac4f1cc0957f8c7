"""The machine for pickles, beside Python's own."""

from __future__ import annotations

import collections
import copyreg
import io
import pickle

import numpy as np
import pytest

from difjax import errors
from difjax.interop import unpickle
from tests.interop import files

PLAIN = {
  'numbers': [0, 255, 65536, -1, 2**31, -(2**70), 1.5, 1 + 2j, True, False],
  'text': ['', 'grüße', 'x' * 300, b'', b'\x80', bytearray(b'ab'), None],
  'nested': [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], {}, {'a': {}}],
  'sets': [set(), {1, 2}, frozenset({(1, 'a')})],
  'dicts': [
    collections.OrderedDict(b=1, a=2), collections.Counter('aab'),
    collections.defaultdict(list, a=[1]), collections.deque([1, 2], 5),
  ],
}  # fmt: skip
ARRAYS = [
  np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.int8)),
  np.array(2, np.float16), np.zeros((0, 2)), np.array(['a', 'bc']),
  np.float32(1.5), np.int64(3), np.bool_(True),
]  # fmt: skip
PROTOCOLS = range(6)


def read(data):
  """Reads the bytes of a pickle."""
  return unpickle.load(io.BytesIO(data))


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_plain_values_are_those_that_python_reads(protocol):
  found = read(pickle.dumps(PLAIN, protocol))
  assert found == {
    **PLAIN, 'dicts': [*PLAIN['dicts'][:3], list(PLAIN['dicts'][3])]
  }  # fmt: skip
  assert [type(x) for x in found['nested']] == [
    type(x) for x in PLAIN['nested']
  ]


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_arrays_are_those_that_python_reads(protocol):
  found = read(pickle.dumps(ARRAYS, protocol))
  for old, new in zip(ARRAYS, found, strict=True):
    assert type(new) is type(old) and new.dtype == old.dtype
    np.testing.assert_array_equal(new, old)


def test_sharing_and_cycles():
  shared = [1]
  cyclic = {'a': shared, 'b': shared}
  cyclic['self'] = cyclic
  found = read(pickle.dumps(cyclic))
  assert found['a'] is found['b'] and found['self'] is found


class Strange:
  """A class that the reader does not know."""

  def __init__(self, x):
    self.x = x


class StrangeDict(dict):
  """A kind of dict, as EasyDict is."""


class StrangeList(list):
  """A kind of list."""


class WithKeywords:
  """Pickles with keyword arguments."""

  def __new__(cls, a, *, b):
    del a, b
    return super().__new__(cls)

  def __getnewargs_ex__(self):
    return (1,), {'b': 2}


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_unknown_classes_are_records(protocol):
  objects = [Strange(3), StrangeDict(a=1), StrangeList([4, 5]), Strange]
  record, mapping, sequence, name = read(pickle.dumps(objects, protocol))
  assert (record.module, record.name) == (__name__, 'Strange')
  assert record.state == {'x': 3}
  if protocol >= 2:  # before it, the contents are an argument
    assert mapping.mapping == {'a': 1}
    assert sequence.sequence == [4, 5]
  assert (name.module, name.name) == (__name__, 'Strange')


def test_keywords_come_last():
  record = read(pickle.dumps(WithKeywords(0, b=0), 4))
  assert record.args == (1, {'b': 2})


def never(text):
  """Must not be called."""
  raise AssertionError(text)


def test_unknown_functions_are_not_called():
  data = pickle.dumps(files.Run(never, 'it was'))
  with pytest.raises(AssertionError, match='it was'):
    pickle.loads(data)
  record = read(data)
  assert (record.name, record.args) == ('never', ('it was',))


REFUSED = {
  'os.system': b'cos\nsystem\n(S"touch x"\ntR.',
  'posix.system': b'cposix\nsystem\n(S"touch x"\ntR.',
  'nt.system': b'cnt\nsystem\n(S"touch x"\ntR.',
  'subprocess.Popen': b'csubprocess\nPopen\n(S"touch x"\ntR.',
  'builtins.eval': b'cbuiltins\neval\n(S"1"\ntR.',
  'builtins.exec': b'\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.',
  '__builtin__.eval': b'c__builtin__\neval\n(S"1"\ntR.',
  'builtins.getattr': b'cbuiltins\ngetattr\n(cbuiltins\nint\nS"real"\ntR.',
  'builtins.__import__': b'cbuiltins\n__import__\n(S"os"\ntR.',
  'importlib.import_module': b'cimportlib\nimport_module\n(S"os"\ntR.',
  'runpy._run_code': b'crunpy\n_run_code\n(S"1"\ntR.',
  'pty.spawn': b'cpty\nspawn\n(S"sh"\ntR.',
  'operator.attrgetter': b'coperator\nattrgetter\n(S"a"\ntR.',
  'code.InteractiveInterpreter': b'(icode\nInteractiveInterpreter\n.',
  'sys.modules': b'csys\nmodules\n.',
  'collections.OrderedDict.__init__.__globals__':
    b'ccollections\nOrderedDict.__init__.__globals__\n.',
  'torch.serialization.os.system':
    b'ctorch.serialization\nos.system\n(S"touch x"\ntR.',
  'numpy.os.system': b'(S"touch x"\ninumpy.os\nsystem\n.',
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_names_that_run_code_are_refused(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.CheckpointError, match='could run code') as caught:
    read(REFUSED[name])
  assert repr(name) in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'data',
  [
    b'\x80\x04\x82\x01.',  # a name by the number that copyreg gave it
    b'\x80\x05\x97.',  # a buffer from outside
    b'cm\nC\n]R.',  # a call with a list
    b'](S"a"\ntR.',  # a call of a list
    b'\x80\x02]\x81.',
    b'0.', b'1.', b'.', b'g5\n.', b't.', b'R.', b'b.', b'a.', b's.', b'2.',
    b'Nb.', b'NNb.', b']NNs.', b'}Na.', b'(NNNd.', b'}(}Nu.',  # a dict as key
    b'Pname\n.',
    b'cnumpy\ndtype\n(S"O"\ntR.',
    b'cnumpy\ndtype\n(S"f4,f4"\ntR.',
    b'cnumpy\ndtype\n(S"f4"\ntR(I3\nS">"\nNtb.',
    b'cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I9\ntcnumpy\nfloat32\nI00'
    b'\nS"abcd"\ntb.',
    b'cbuiltins\nbytearray\n(I1000000000000\ntR.',
    b'cbuiltins\nset\n((lp0\nltR.',
    b'\x80\x04\x8e' + b'\xff' * 8 + b'.',
  ],
)  # fmt: skip
def test_pickles_that_are_off(data):
  damage = (
    errors.CheckpointError, ValueError, IndexError, TypeError, KeyError,
    AttributeError,
  )  # fmt: skip
  with pytest.raises(damage):
    read(data)


def test_states_change_no_classes():
  """A state for a name, which on Python would set attributes of a class."""
  data = b'ccollections\nOrderedDict\n(NS"x"\nI1\nsd\x86b.'
  with pytest.raises(AttributeError):
    read(data)
  assert not hasattr(collections.OrderedDict, 'x')
  assert copyreg.dispatch_table is not None
