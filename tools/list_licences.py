"""List the licences of what is shipped and of what it depends on: python tools/list_licences.py > docs/licences.md

Versions are those of the environment that it is called in; it should have all extras of setup.py.
"""

import re
from importlib import metadata

from packaging.requirements import Requirement

from mmpretrain_mps.engine.loops.domain_report import markdown_table

PROJECT = 'mmpretrain_mps'
# What tells the text of a licence, for packages that name theirs nowhere else.
TEXTS = {
    'Permission is hereby granted, free of charge': 'MIT',
    'Apache License Version 2.0': 'Apache-2.0',
    'Mozilla Public License Version 2.0': 'MPL-2.0',
}
# Path in the package, what it is, its licence, and the file of the wheel that has it or says more.
SHIPPED = (
    ('*.py, .mim/*, demo/*, analysis/templates/*', 'code, configs, tools, the page in the browser', 'Apache-2.0', 'LICENSE'),
    (
        'mini_clip/open_clip_model.safetensors',
        'the mini CLIP, trained by this project on pictures that it draws',
        'Apache-2.0',
        'mini_clip/NOTICE.md',
    ),
    (
        'mini_clip/auxiliary_resnet18.safetensors',
        'the auxiliary network, trained by MoCo v3 on the same pictures',
        'Apache-2.0',
        'mini_clip/NOTICE.md',
    ),
    ('mini_clip/bpe_merges.txt.gz', "byte pairs, learned on the project's own captions", 'Apache-2.0', 'mini_clip/NOTICE.md'),
    (
        'mini_clip/vocabulary.json, mini_clip/open_clip_config.json',
        'words and sizes of the mini CLIP',
        'Apache-2.0',
        'mini_clip/NOTICE.md',
    ),
    (
        'pictogram_clip/open_clip_model.safetensors',
        'the pictogram CLIP, trained by this project on drawings that are not in it',
        'Apache-2.0',
        'pictogram_clip/NOTICE.md',
    ),
    (
        'pictogram_clip/bpe_merges.txt.gz, pictogram_clip/vocabulary.json, pictogram_clip/open_clip_config.json',
        'byte pairs, words and sizes of the pictogram CLIP',
        'Apache-2.0',
        'pictogram_clip/NOTICE.md',
    ),
    ('pictograms/noto.webp, pictograms/noto-v1.webp', 'pictures rendered from Noto Emoji', 'Apache-2.0', 'pictograms/NOTICE.md'),
    (
        'pictograms/twemoji.webp, pictograms/fxemoji.webp, pictograms/emojione.webp, pictograms/emojione-monotone.webp',
        'pictures rendered from Twemoji, Firefox OS Emoji and Emojitwo',
        'CC BY 4.0',
        'pictograms/NOTICE.md',
    ),
    ('pictograms/pictograms.json', 'their names, groups and keywords', 'MIT, Unicode-3.0', 'pictograms/NOTICE.md'),
    (
        'pictograms/kinds.yaml, pictograms/packages.yaml',
        'which is of which kind and subset, by this project',
        'Apache-2.0',
        'LICENSE',
    ),
    (
        'checkpoints/mps-mini_16shot_digits.pth',
        "what MPS-Tuning changed of the mini CLIP on 160 of scikit-learn's digits",
        'Apache-2.0',
        'LICENSE',
    ),
)
INTRODUCTION = """# Licences

Made by `python tools/list_licences.py`; names, versions and licences of packages are what these say of themselves.

## What is in the wheel

{shipped}

No font is in it, and no picture but these. The drawings that the pictogram CLIP was trained on are under the licences that
[its notice](../mmpretrain_mps/pictogram_clip/NOTICE.md) names. The glyphs that the mini CLIP was trained on were rendered
from fonts under the licences that [NOTICE.md](../mmpretrain_mps/mini_clip/NOTICE.md) names; the digits are read from the
installed scikit-learn, which has them of the UCI repository (Alpaydin and Kaynak, CC BY 4.0).

## What it depends on

{direct}

## What these bring along

The CUDA libraries of NVIDIA come with the builds of PyTorch for Linux that pip takes by default, and not with those for the CPU.

{further}
"""
LONGEST = 60  # characters of a field that is to name a licence, and often holds its text


def main():
    """Print the page."""
    direct = {}
    for need in map(Requirement, metadata.requires(PROJECT)):
        direct.setdefault(plain(need.name), []).append(use_of(need))
    further = sorted(packages_of(PROJECT) - {*direct, plain(PROJECT)})
    rows = [[name, *described(name), ', '.join(dict.fromkeys(uses))] for name, uses in sorted(direct.items())]
    print(
        INTRODUCTION.format(
            shipped=markdown_table(['file', 'what', 'licence', 'said in'], [[f'`{file}`', *more] for file, *more in SHIPPED]),
            direct=markdown_table(['package', 'version', 'licence', 'for'], rows),
            further=markdown_table(['package', 'version', 'licence'], [[name, *described(name)] for name in further]),
        ),
        end='',
    )


def packages_of(project):
    """Return the names of the installed packages that one with all of its extras needs on this machine, and its own."""
    extras = metadata.metadata(project).get_all('Provides-Extra') or ()
    todo, seen = [Requirement(f'{project}[{",".join(extras)}]')], set()
    while todo:
        need = todo.pop()
        key = plain(need.name), frozenset(need.extras)
        if key not in seen and installed(need.name):
            seen.add(key)
            todo += needed_by(need)
    return {name for name, _ in seen}


def needed_by(requirement):
    """Return what an installed package needs on this machine with the extras that are asked for."""
    return [
        need
        for need in map(Requirement, metadata.requires(requirement.name) or ())
        if need.marker is None or any(need.marker.evaluate({'extra': extra}) for extra in ('', *requirement.extras))
    ]


def use_of(requirement):
    """Return what a requirement of this project is for: all of it, or one of its extras."""
    found = re.search(r'extra == "(\w+)"', str(requirement.marker or ''))
    return f'the extra {found[1]}' if found else 'all'


def installed(name):
    """Return an installed package, None if there is none of this name."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def described(name):
    """Return the version of a package and its licence, as far as it says so."""
    distribution = installed(name)
    if distribution is None:
        return '-', 'not installed where this was made'
    about = distribution.metadata
    classifiers = [entry.split(' :: ')[-1] for entry in about.get_all('Classifier') or () if entry.startswith('License ::')]
    field = (about.get('License') or '').strip()
    named = field if field and field != 'UNKNOWN' and '\n' not in field and len(field) <= LONGEST else ''
    said = about.get('License-Expression') or named or ', '.join(classifiers) or licence_of_file(distribution)
    return distribution.version, said or 'does not say'


def licence_of_file(distribution: metadata.Distribution) -> str:
    """Return which of :data:`TEXTS` the licence file of a package holds; '' if none."""
    for name in distribution.metadata.get_all('License-File') or ():
        text = ' '.join((distribution.read_text(f'licenses/{name}') or distribution.read_text(name) or '').split())
        for phrase, licence in TEXTS.items():
            if phrase in text:
                return licence
    return ''


def plain(name):
    """Return the name of a package as indexes have it."""
    return re.sub(r'[-_.]+', '-', name).lower()


if __name__ == '__main__':
    main()
