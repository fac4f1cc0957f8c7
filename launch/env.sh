# Sourced by the other launchers: makes .venv in the repository and installs
# difjax into it, once for each state of setup.cfg.
#
#   DIFJAX_PYTHON   the Python to use (otherwise the first one >= 3.11)
#   DIFJAX_EXTRAS   extras to install beside those that a launcher asks for,
#                   such as cuda or tpu

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Compiled programs are kept, so that a second run starts at once.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$root/.cache/jax}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0.3}"

_find_python() {
  local candidate
  for candidate in ${DIFJAX_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "difjax needs Python >= 3.11; set DIFJAX_PYTHON to one" >&2
  return 2
}

_make_venv() {  # a Python without ensurepip lends its own pip
  local python="$1"
  if "$python" -m venv "$root/.venv" >/dev/null 2>&1; then
    return
  fi
  rm -rf "$root/.venv"
  "$python" -m venv --without-pip "$root/.venv" &&
    "$python" -m pip --python "$root/.venv/bin/python" install --quiet pip ||
    {
      echo "$python can make no virtual environment: install its venv module" \
        "(python3-venv on Debian) or set DIFJAX_PYTHON" >&2
      return 2
    }
}

# ensure_env EXTRA...: difjax with these extras, in .venv.
ensure_env() {
  local python extras stamp wanted
  extras="$(printf '%s\n' "$@" $(tr , ' ' <<<"${DIFJAX_EXTRAS:-}") | sed '/^$/d' | sort -u |
    paste -sd, -)"
  stamp="$root/.venv/difjax-${extras:-base}.stamp"
  wanted="$(cat "$root/setup.cfg" "$root/pyproject.toml" | cksum)"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if ! "$root/.venv/bin/python" -c '' 2>/dev/null; then
    python="$(_find_python)" || return
    echo "making $root/.venv with $python" >&2
    _make_venv "$python" || return
  fi
  echo "installing difjax${extras:+[$extras]}, a minute or two" >&2
  "$root/.venv/bin/python" -m pip install -qq \
    --disable-pip-version-check --editable "$root${extras:+[$extras]}" || return
  printf '%s\n' "$wanted" >"$stamp"
}
