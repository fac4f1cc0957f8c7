import pytest

from difjax import errors
from difjax.data import example

# tf.train.Example(image=[b'\x89PNG'], label=[300, -1], w=[0.5]), by TensorFlow.
OFFICIAL = bytes.fromhex(
  '0a3d0a110a05696d61676512080a060a0489504e470a190a056c6162656c12101a0e0a0cac'
  '02ffffffffffffffffff010a0d0a0177120812060a040000003f'
)


def test_parses_what_tensorflow_wrote():
  assert example.parse(OFFICIAL) == {'image': [b'\x89PNG'], 'label': [300, -1]}


def test_unpacked_integers_are_read():
  # The same list, a tag (field 1, varint) before each value.
  values = bytes.fromhex('08ac02' + '0805')
  feature = b'\x1a' + bytes([len(values)]) + values
  entry = b'\x0a\x01k' + b'\x12' + bytes([len(feature)]) + feature
  features = b'\x0a' + bytes([len(entry)]) + entry
  message = b'\x0a' + bytes([len(features)]) + features
  assert example.parse(message) == {'k': [300, 5]}


def test_all_kinds_of_fields_are_told_apart():
  message = bytes.fromhex('0807' + '11' + '01' * 8 + '1d' + '02' * 4 + '2201ff')
  assert list(example.fields(message)) == [
    (1, 7),
    (2, b'\x01' * 8),
    (3, b'\x02' * 4),
    (4, b'\xff'),
  ]


@pytest.mark.parametrize(
  'data', [OFFICIAL[:-1], b'\x0a\xff', b'\x0b\x00', b'\x0a\x02\x08\x01', b'PNG']
)
def test_other_bytes_are_refused(data):
  with pytest.raises(errors.DataError, match=r'no tf\.train\.Example'):
    example.parse(data)
