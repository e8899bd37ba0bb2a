"""Makes a page that shows a run, a grid of variants and seeds, or a ladder: one HTML file that needs nothing else.

    python -m experiments.report DIR [--output=FILE.html]

DIR is a run folder, or the --workdir of `ablate` or `ladder`. The page has what was run and how to repeat it, each metric
with its interval and the verdicts, costs, curves, what single classes reach, and images with the answers of each variant
beside the truth. Of a grid that is not finished it shows how far it has come. It is report.html in DIR where --output names
no other.
"""

from typing import Any

from .command_line import Parser, cache_compilations, folder, main


def run(workdir: Any, output: Any = None, say=print) -> Any:
    """Writes the page; returns its path.

    Args:
        workdir: the folder of a run, a grid or a ladder.
        output: the file; report.html in `workdir` by default.
        say: prints a line.

    Raises:
        RunError: the folder holds no run, nothing of it has begun, or a file of it cannot be read.
    """
    from cnnvision.errors import RunError
    from cnnvision.storage import path_of

    from .reports.page.render import write

    if output is not None and path_of(output).is_dir():
        raise RunError(f"--output: {output} is a folder; name a file, such as {output}/report.html")
    return write(workdir, output, say)


def command(arguments: list[str] | None = None) -> int:
    """Parses, writes the page."""
    parser = Parser("report", __doc__)
    parser.add_argument("workdir", type=folder, metavar="DIR", help="of a run, a grid or a ladder, local or gs://")
    parser.add_argument("--output", type=folder, metavar="FILE", help="report.html in DIR by default")
    flags, _ = parser.parse(arguments)
    cache_compilations()
    run(flags.workdir, flags.output)
    return 0


if __name__ == "__main__":
    main(command)
