import type { Command, Option } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

interface Entry {
  /** `logs`, or `env set`. */
  path: readonly string[];
  description: string;
  options: readonly Option[];
  /** Words its next argument is one of: commands below it, or choices. */
  words: readonly string[];
  /** Whether its first argument is a CVM, or a host. */
  takes: "vm" | "host" | undefined;
}

function optionsOf(command: Command): Option[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
}

/** A command and all below it. */
function entriesOf(command: Command, path: readonly string[]): Entry[] {
  const children = command.createHelp().visibleCommands(command);
  const [argument] = command.registeredArguments;
  const name = argument?.name();
  const entry: Entry = {
    path,
    description: command.description(),
    options: optionsOf(command),
    words: children.length > 0 ? children.map((child) => child.name()) : (argument?.argChoices ?? []),
    takes: name === "vm" || name === "target" ? "vm" : path.join(" ") === "host rm" ? "host" : undefined,
  };
  return [entry, ...children.flatMap((child) => entriesOf(child, [...path, child.name()]))];
}

/** A shell that completes waits for it, and its person does: a teepod that says nothing gets so many seconds. */
const LIMITED = "DSTACK_TIMEOUT=2";

/** Names out of a list that is JSON; only what a name may hold, as shells evaluate it. */
const namesOf = (list: string): string =>
  `${list} --json 2>/dev/null | sed -n 's/^    "name": "\\([A-Za-z0-9._-]*\\)",*$/\\1/p'`;
const LISTS = { vm: namesOf("ls"), host: namesOf("host ls") } as const;

const flags = (options: readonly Option[]): string[] =>
  options.flatMap(({ short, long }) => [short, long]).filter((flag) => typeof flag === "string");

/** What all commands' options look like to a shell that has only words. */
function valued(entries: readonly Entry[]) {
  const all = entries
    .flatMap(({ options }) => options)
    .filter((option) => option.required || option.optional);
  const choices = new Map(
    all.flatMap((o) => (o.argChoices === undefined ? [] : [[o.long ?? "", o.argChoices]])),
  );
  return { flags: [...new Set(flags(all))], choices };
}

/** The branches of bash and zsh: what to offer after `--host` and the like, and for each command. */
function branches(entries: readonly Entry[], offer: (words: readonly string[], list?: string) => string) {
  const { flags: withValue, choices } = valued(entries);
  const plain = withValue.filter((flag) => flag !== "--host" && !choices.has(flag));
  return {
    withValue: withValue.join("|"),
    values: [
      `    --host) ${offer([], LISTS.host)} ;;`,
      ...[...choices].map(([flag, words]) => `    ${flag}) ${offer(words)} ;;`),
    ].join("\n"),
    plain: plain.join("|"),
    commands: entries
      .map(({ path, words, options, takes }) => {
        // A command's arguments come after it; a group's next word is a command.
        const pattern = path.length === 0 ? "''" : `'${path.join(" ")}'`;
        const line = offer(
          [...words, ...flags(options).filter((flag) => flag.startsWith("--"))],
          takes && LISTS[takes],
        );
        return `    ${pattern}) ${line} ;;`;
      })
      .join("\n"),
  };
}

/** Commands that have commands below them. */
const groupsOf = (entries: readonly Entry[]): string[] => [
  ...new Set(entries.flatMap(({ path }) => (path.length > 1 ? [path[0] ?? ""] : []))),
];

/** How bash and zsh find the command among the words before the one that is completed. */
function findCommand(entries: readonly Entry[], withValue: string): string {
  return `    if [ -n "$skip" ]; then skip=; continue; fi
    case $word in
      ${withValue}) skip=1 ;;
      -*) ;;
      *)
        case $command in
          '') command=$word ;;
          ${groupsOf(entries).join("|")}) command="$command $word" ;;
        esac ;;
    esac`;
}

function bash(entries: readonly Entry[]): string {
  const made = branches(
    entries,
    (words, list) =>
      `words='${words.join(" ")}'${list === undefined ? "" : `" $(${LIMITED} "\${COMP_WORDS[0]}" ${list})"`}`,
  );
  return `# dstack completion for bash: source <(dstack completion bash)
_dstack() {
  local word command= words= skip=
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
${findCommand(entries, made.withValue)}
  done
  case \${COMP_WORDS[COMP_CWORD-1]} in
${made.values}
    ${made.plain}) COMPREPLY=(); return ;;
    *) case $command in
${made.commands}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _dstack dstack
`;
}

function zsh(entries: readonly Entry[]): string {
  const made = branches(
    entries,
    (words, list) =>
      `compadd -- ${words.join(" ")}${list === undefined ? "" : ` $(${LIMITED} \${words[1]} ${list})`}`,
  );
  return `#compdef dstack
# dstack completion for zsh: source <(dstack completion zsh)
_dstack() {
  local word command= skip=
  for word in \${words[2,CURRENT-1]}; do
${findCommand(entries, made.withValue)}
  done
  case \${words[CURRENT-1]} in
${made.values}
    ${made.plain}) _files ;;
    *) case $command in
${made.commands}
    esac
    [[ -n $command ]] && _files ;;
  esac
}
compdef _dstack dstack
`;
}

function fish(entries: readonly Entry[]): string {
  const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const list = (names: string): string => `"(${LIMITED} dstack ${names.replaceAll(/["$]/g, "\\$&")})"`;
  const option = (condition: string, { long, short, description, argChoices, ...rest }: Option): string => {
    const words =
      long === "--host"
        ? ` -x -a ${list(LISTS.host)}`
        : argChoices
          ? ` -x -a ${quoted(argChoices.join(" "))}`
          : "";
    const value = rest.required && words === "" ? " -r" : words;
    const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
    return `complete -c dstack -n ${quoted(condition)}${letter} -l ${(long ?? "").slice(2)}${value} -d ${quoted(description)}`;
  };
  const groups = groupsOf(entries);
  const lines = entries.flatMap((entry) => {
    const isGroup =
      entry.path.length === 0 || (entry.path.length === 1 && groups.includes(entry.path[0] ?? ""));
    const at = `__dstack_at ${isGroup ? "exactly" : "in"} ${entry.path.join(" ")}`.trimEnd();
    const below = (word: string): string | undefined =>
      entries.find(({ path }) => path.join(" ") === [...entry.path, word].join(" "))?.description;
    return [
      ...entry.words.map((word) => {
        const description = below(word);
        return `complete -c dstack -f -n ${quoted(at)} -a ${word}${description === undefined ? "" : ` -d ${quoted(description)}`}`;
      }),
      ...entry.options.map((each) => option(at, each)),
      ...(entry.takes === undefined
        ? []
        : [`complete -c dstack -n ${quoted(at)} -a ${list(LISTS[entry.takes])}`]),
    ];
  });
  return `# dstack completion for fish: dstack completion fish | source
function __dstack_at
  set -l path
  set -l skip
  for word in (commandline -opc)[2..]
    if test -n "$skip"
      set skip
      continue
    end
    switch $word
      case ${valued(entries).flags.join(" ")}
        set skip 1
      case '-*'
      case '*'
        set -a path $word
    end
  end
  set -l wanted $argv[2..]
  test "$argv[1]" = exactly; and test "$path" != "$wanted"; and return 1
  string match -q -- "$wanted *" "$path "; or test (count $wanted) -eq 0
end
${lines.join("\n")}
`;
}

/** A script that teaches a shell the commands, their options, and the names of CVMs and hosts. */
export function completionScript(program: Command, shell: Shell): string {
  return { bash, zsh, fish }[shell](entriesOf(program, []));
}
