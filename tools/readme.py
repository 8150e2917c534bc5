"""Write README.md from nbs/index.ipynb, with nbconvert's markdown exporter.

The only change made to its text: links and images are relative to nbs/ in the notebook and to the root in
README.md, so `../results/x.gif` becomes `results/x.gif`, and `1_method/01_clips.ipynb` becomes `nbs/1_method/01_clips.ipynb`.
Cells that start with `#| hide` are left out; of cells that start with `#| echo: false` only the output stays.
"""
import posixpath, re, sys
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter

_link = re.compile(r'(\]\(|(?:src|href)=")([^)"\s]+)')


def root_link(match):
    start, target = match.groups()
    if re.match(r'[a-z]+:|#|/', target): return match[0]
    return start + posixpath.normpath(posixpath.join('nbs', target))


def readme(path):
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if not re.match(r'#\|\s*hide\b', c.source)]
    for c in nb.cells:
        if re.match(r'#\|\s*echo:\s*false', c.source): c.metadata['transient'] = {'remove_source': True}
        if c.cell_type == 'code': c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
    text, resources = MarkdownExporter().from_notebook_node(nb)
    if resources.get('outputs'):
        sys.exit(f'{path} has figures in its outputs. Show files of results/ instead: ![](../results/...)')
    return re.sub(r'\n{3,}', '\n\n', _link.sub(root_link, text)).strip() + '\n'


if __name__ == '__main__':
    source = Path('nbs/index.ipynb')
    if not source.exists(): sys.exit(f'{source} is missing: README.md is written from it')
    Path('README.md').write_text(readme(source), encoding='utf-8')
    print('README.md written from', source)
