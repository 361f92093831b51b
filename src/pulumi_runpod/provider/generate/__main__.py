"""`python -m pulumi_runpod.provider.generate [--check]`."""

import sys

from pulumi_runpod.provider.generate.files import ROOT, differing_files, generated_files


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = differing_files()
        for path in stale:
            print(f"{path.relative_to(ROOT)} does not match the declarations", file=sys.stderr)  # noqa: T201
        if stale:
            print("run: python -m pulumi_runpod.provider.generate", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    if arguments:
        print("usage: python -m pulumi_runpod.provider.generate [--check]", file=sys.stderr)  # noqa: T201
        return 2
    for path, content in generated_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
