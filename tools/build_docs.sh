#!/usr/bin/env bash
# Installs what the documentation needs into .venv and builds it, strictly: a warning is an error. Flags go to mkdocs: --site-dir FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/_environment.sh
prepare_environment docs

export NO_MKDOCS_2_WARNING=1
python -m mkdocs build --strict "$@"
echo "site        $PWD/work_dirs/site/index.html"
