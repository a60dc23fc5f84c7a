# Sourced by quickstart.sh and run_tests.sh: prepare_environment makes .venv, once, and puts it first in PATH.
# PYTHON names the interpreter to build it with; by default the first of these that fits is taken.
candidates=${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}
version_fits='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'

fitting_python() {
  local name
  for name in $candidates; do
    if "$name" -c "$version_fits" 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "error: Python 3.10, 3.11, 3.12 or 3.13 is needed, none of these is one: $candidates." \
    "Set PYTHON=/path/to/python3.11 to name another." >&2
  return 2
}

make_venv() {
  local python
  if [[ ! -x .venv/bin/python ]]; then
    python=$(fitting_python) || return
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv .venv || {
      echo "error: $python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)" >&2
      return 2
    }
  elif ! .venv/bin/python -c "$version_fits"; then
    echo "error: $PWD/.venv has $(.venv/bin/python --version), but Python 3.10 to 3.13 is needed; move it away" >&2
    return 2
  fi
  # Absent if the making of .venv was interrupted.
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
}

# What an installation depends on: as long as it stays the same, nothing is installed and no network is needed.
fingerprint() {
  { cat setup.py constraints.txt mmpretrain_mps/version.py; .venv/bin/python -VV; pwd; echo "$1"; } | sha256sum
}

is_installed() {
  [[ -f .venv/installed-${1:-base} && $(<".venv/installed-${1:-base}") == "$(fingerprint "$1")" ]]
}

# prepare_environment [EXTRA]: install this checkout, with an extra of setup.py, into .venv of the project's root.
prepare_environment() {
  local extra=${1:-}
  make_venv || return
  if is_installed "$extra" || is_installed tests; then
    echo "Using .venv as it was installed before (setup.py and constraints.txt have not changed)"
  else
    echo "Installing into .venv (torch is large: this takes minutes and some GB)"
    .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e ".${extra:+[$extra]}" || return
    fingerprint "$extra" >".venv/installed-${extra:-base}"
  fi
  export VIRTUAL_ENV=$PWD/.venv PATH=$PWD/.venv/bin:$PATH
  unset PYTHONHOME
}
