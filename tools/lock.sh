#!/bin/sh
# Renew requirements.lock: install the ranges of pyproject.toml into an empty environment and write down what came.
# Packages that exist on one system only get a marker, so that the file installs elsewhere too.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet -e '.[dev]'
{
  echo "# Pins of everything, made by \`make lock\`; the ranges stand in pyproject.toml."
  "$work/venv/bin/pip" freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$//' |
    sed -E '/^(nvidia-|cuda-|triton==)/ s/$/ ; platform_system == "Linux"/'
} > requirements.lock
