#!/bin/bash
# Prints the paths (relative to the module tree) of the listed modules and of all they depend on.
# usage: module-closure.sh <modules.dep> <list> [in-order]; with in-order: in an order insmod accepts
set -euo pipefail
sed -e 's/#.*//' -e '/^ *$/d' "$2" | awk -v dep="$1" -v ordered="${3:-}" '
  function name(path) { sub(/.*\//, "", path); sub(/\.ko.*/, "", path); gsub(/-/, "_", path); return path }
  BEGIN {
    while ((getline line < dep) > 0) {
      n = split(line, part, /:? +/); sub(/:$/, "", part[1])
      path[name(part[1])] = part[1]; all[++count] = part[1]
      # modules.dep lists what must be loaded last-first.
      for (i = n; i > 1; i--) deps[part[1]] = deps[part[1]] " " part[i]
    }
  }
  function take(p,   i, n, d) {
    if (p in taken) return
    taken[p] = 1
    n = split(deps[p], d, " ")
    for (i = 1; i <= n; i++) take(d[i])
    print p
  }
  /\// { for (i = 1; i <= count; i++) if (index(all[i], "kernel/" $1) == 1) take(all[i]); next }
  {
    m = $1; gsub(/-/, "_", m)
    if (!(m in path)) { if (ordered != "") next; print "no module " $1 > "/dev/stderr"; missing = 1; next }
    take(path[m])
  }
  END { exit missing }
'
