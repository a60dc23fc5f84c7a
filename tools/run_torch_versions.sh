#!/usr/bin/env bash
# Runs the tests with other versions of PyTorch, each in an environment of its own below .venvs/ (some GB each):
#
#   bash tools/run_torch_versions.sh                         # the oldest that setup.py allows, and 2.11
#   bash tools/run_torch_versions.sh 2.9.1 -- tests/test_models -x
#
# Everything but PyTorch has the versions of constraints.txt. Ends with a line for each version, and with status 1 if a test of
# any of them failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh

versions=()
while (($#)) && [[ $1 != -- ]]; do
  versions+=("$1")
  shift
done
((${#versions[@]})) || versions=(2.8.0 2.11.0)
(($# > 1)) && arguments=("${@:2}") || arguments=(-n auto --maxprocesses 8 --dist loadfile -m 'not slow' -q tests)

# install VERSION: make the environment unless it is there already, and print the path of its Python.
install() {
  local folder=.venvs/torch-$1 python=.venvs/torch-$1/bin/python
  if [[ ! -f $folder/installed || $(<"$folder/installed") != "$(cat setup.py constraints.txt | sha256sum)" ]]; then
    [[ -x $python ]] || "$(fitting_python)" -m venv "$folder"
    # What comes with PyTorch comes in the versions that this one asks for.
    grep -vE '^(torch|torchvision|triton|nvidia-|cuda-|setuptools)' constraints.txt >"$folder/constraints.txt"
    "$python" -m pip install --disable-pip-version-check -q -c "$folder/constraints.txt" "torch==$1" -e '.[tests]' >&2
    cat setup.py constraints.txt | sha256sum >"$folder/installed"
  fi
  echo "$python"
}

summary=() status=0
for version in "${versions[@]}"; do
  python=$(install "$version")
  if PATH=$PWD/${python%/python}:$PATH "$python" -m pytest "${arguments[@]}"; then
    summary+=("torch $version: passed")
  else
    summary+=("torch $version: FAILED") status=1
  fi
done
printf '%s\n' "${summary[@]}"
exit $status
