#!/bin/bash
# Every relative link of a Markdown file leads to a file of the project.
set -euo pipefail
status=0 count=0
while read -r doc; do
	while read -r link; do
		case $link in http:* | https:* | mailto:* | '#'*) continue ;; esac
		count=$((count + 1))
		if [ ! -e "$(dirname "$doc")/${link%%#*}" ]; then
			echo "$doc: link to nowhere: $link" >&2
			status=1
		fi
	done < <(grep -oE '\]\([^) ]+\)' "$doc" | sed -E 's/^\]\(//; s/\)$//')
done < <(git ls-files --cached --others --exclude-standard '*.md' | sort -u)
echo "docs: $count links checked"
exit $status
