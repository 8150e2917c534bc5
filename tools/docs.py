"""What `make docs` calls: the site, from the notebooks as they are executed in the repository.

    python tools/docs.py            writes docs/_site/index.html

Sphinx and its theme come from the package index; nothing else is fetched. Notebooks are copied beside the results that
they show, are not run again, and the sidebar follows the folders.
"""
import re, shutil, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT/'docs/_source', ROOT/'docs/_site'
PARTS = {'0_core': 'Files, seeds, processes', '1_method': 'Part 1: the method', '2_evaluation': 'Part 2: evaluation',
         '3_experiments': 'Part 3: experiments', '4_data': 'Part 4: data', '5_interop': 'Part 5: other formats and networks',
         '6_apps': 'Part 6: applications'}
CONF = '''
project, author = 'MoCoGAN-HD', 'The mocogan-hd authors'
extensions, html_theme = ['myst_nb'], 'furo'
nb_execution_mode = 'off'
myst_enable_extensions = ['dollarmath', 'html_image']
suppress_warnings = ['myst.header', 'mystnb.mime_priority', 'myst.xref_missing', 'toc.not_included']
html_copy_source = html_show_sourcelink = False
html_title = 'MoCoGAN-HD, the paper that runs'
'''


def shown(path):
    "Copy a page; cells that begin with `#| hide` are left out."
    import nbformat
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if not re.match(r'#\|\s*hide\b', c.source)]
    for c in nb.cells:
        if re.match(r'#\|\s*echo:\s*false', c.source): c.metadata['tags'] = [*c.metadata.get('tags', []), 'remove-input']
    target = SOURCE/path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, target)


def contents():
    "The front page and one table of contents for each folder of nbs/."
    lines = ['```{include} README.md', '```', '']
    def tree(caption, pages): lines.extend(['```{toctree}', ':hidden:', f':caption: {caption}', *pages, '```', ''])
    tree('Begin', [str(p.relative_to(ROOT).with_suffix('')) for p in sorted((ROOT/'nbs').glob('*.ipynb')) if p.stem != 'index'])
    for folder, caption in PARTS.items():
        pages = [str(p.relative_to(ROOT).with_suffix('')) for p in sorted((ROOT/'nbs'/folder).rglob('*.ipynb'))]
        tree(caption, [p for p in pages if '.ipynb_checkpoints' not in p])
    (SOURCE/'index.md').write_text('\n'.join(lines), encoding='utf-8')


def main():
    for folder in (SOURCE, SITE): shutil.rmtree(folder, ignore_errors=True)
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        if path.stem != 'index' and '.ipynb_checkpoints' not in str(path): shown(path)
    for suffix in ('gif', 'png', 'mp4', 'md', 'ipynb'):
        for path in (ROOT/'results').rglob(f'*.{suffix}'):
            target = SOURCE/path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for name in ('README.md', 'CONTRIBUTING.md', 'CITATION.cff'): shutil.copy(ROOT/name, SOURCE/name)
    (SOURCE/'conf.py').write_text(CONF, encoding='utf-8')
    contents()
    return subprocess.call([sys.executable, '-m', 'sphinx', '-q', '-b', 'html', str(SOURCE), str(SITE)])


if __name__ == '__main__': sys.exit(main())
