"""Packages of a made-up emoji set, in the real formats: drawings are random black squares, each of its own."""

import hashlib
import io
import json
import random
import tarfile

CONCEPTS = [f'thing-{letter}' for letter in 'abcdefghijklmnopqrst']
STYLES = dict(
    first='source', second='source', third='source', old='older', strange='other_artist', line='sketch', learnt='pretraining'
)
# Two of things that emoji show too, one of another, and two that are not wanted.
ICONS = ('thing-a', 'thing-b-filled', 'tea-pot-outline', 'a-logo', 'wifi-off')


def squares(key, cells=6, side=60):
    """Return the body of an icon: about half of the cells of a grid, chosen by the key."""
    rng, step = random.Random(key), side // cells
    return ''.join(
        f'<path fill="#000" d="M{x * step} {y * step}h{step}v{step}h-{step}z"/>'
        for x in range(cells)
        for y in range(cells)
        if rng.random() < 0.5
    )


def make_packages(folder, change=lambda icons: None):
    """Write the packages and return what ``packages.yaml`` would say of them.

    Args:
        folder (Path): To write into.
        change (callable): Is given style -> icon -> body, to change it.
    """
    icons = {style: {concept: squares(f'{style} {concept}') for concept in CONCEPTS} for style in STYLES}
    change(icons)
    emoji = {
        chr(0x1F400 + place): dict(name=concept.replace('-', ' '), slug=concept.replace('-', '_'), group='Things')
        for place, concept in enumerate([*CONCEPTS, 'a-flag'])
    }
    emoji[chr(0x1F400 + len(CONCEPTS))]['group'] = 'Flags'
    keywords = [dict(hexcode=f'{ord(character):X}', tags=['made', 'up'], subgroup=0) for character in emoji]
    listing = dict(
        emoji=_pack(folder / 'emoji.tgz', {'data-by-emoji.json': emoji}),
        keywords=_pack(folder / 'keywords.tgz', {'en/data.json': keywords, 'meta/groups.json': dict(subgroups={'0': 'squares'})}),
        styles={},
    )
    for style, role in STYLES.items():
        content = dict(icons={name: dict(body=body) for name, body in icons[style].items()}, width=60, height=60)
        listing['styles'][style] = dict(
            role=role, artist=style, licence='MIT', **_pack(folder / f'{style}.tgz', {'icons.json': content})
        )
    named = {name: dict(body=squares(f'drawn {name}')) for name in ICONS}
    listing['icons'] = dict(
        drawn=dict(
            role='pretraining',
            artist='drawn',
            licence='MIT',
            **_pack(
                folder / 'drawn.tgz',
                {
                    'icons.json': dict(icons=named, width=60, height=60),
                    'metadata.json': dict(categories={'Brand': ['a-logo'], 'Things / Other': ['tea-pot-outline']}),
                },
            ),
        )
    )
    return listing


def _pack(path, files):
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f'package/{name}')
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return dict(file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
