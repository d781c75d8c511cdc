import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

interface Entry {
  name: string;
  description: string;
  flags: { long: string; short: string | undefined; description: string }[];
  /** Whether its first argument is a CVM. */
  takesVm: boolean;
  /** Words the argument is one of. */
  choices: readonly string[];
}

function flagsOf(command: Command): Entry["flags"] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)].flatMap((option) =>
    option.long === undefined || option.long === null
      ? []
      : [{ long: option.long, short: option.short ?? undefined, description: option.description }],
  );
}

function entriesOf(program: Command): Entry[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .map((command) => {
      const [argument] = command.registeredArguments;
      return {
        name: command.name(),
        description: command.description(),
        flags: flagsOf(command),
        takesVm: argument?.name() === "vm" || argument?.name() === "target",
        choices: argument?.argChoices ?? [],
      };
    });
}

/** What a shell's `case` branch for one command offers. */
const wordsOf = (entry: Entry): string[] => [...entry.choices, ...entry.flags.map((flag) => flag.long)];

/** Names of CVMs by the command that is being completed; only what a name may hold, as shells evaluate it. */
const VM_NAMES = `ls --json 2>/dev/null | sed -n 's/^    "name": "\\([A-Za-z0-9._-]*\\)",*$/\\1/p'`;

function bash(program: Command): string {
  const entries = entriesOf(program);
  const first = [...entries.map((entry) => entry.name), ...flagsOf(program).map((flag) => flag.long)];
  return `# dstack completion for bash: source <(dstack completion bash)
_dstack() {
  local word command= words=
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) command=$word; break ;; esac
  done
  case $command in
    '') words='${first.join(" ")}' ;;
${entries
  .map((entry) => {
    const vms = entry.takesVm ? `" $("\${COMP_WORDS[0]}" ${VM_NAMES})"` : "";
    return `    ${entry.name}) words='${wordsOf(entry).join(" ")}'${vms} ;;`;
  })
  .join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _dstack dstack
`;
}

function zsh(program: Command): string {
  const entries = entriesOf(program);
  const first = [...entries.map((entry) => entry.name), ...flagsOf(program).map((flag) => flag.long)];
  return `#compdef dstack
# dstack completion for zsh: source <(dstack completion zsh)
_dstack() {
  local word command=
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* ]] || { command=$word; break }
  done
  case $command in
    '') compadd -- ${first.join(" ")} ;;
${entries
  .map((entry) => {
    const vms = entry.takesVm ? ` $(\${words[1]} ${VM_NAMES})` : "";
    return `    ${entry.name}) compadd -- ${wordsOf(entry).join(" ")}${vms}; _files ;;`;
  })
  .join("\n")}
  esac
}
compdef _dstack dstack
`;
}

function fish(program: Command): string {
  const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const option = (condition: string, flag: Entry["flags"][number]): string => {
    const short = flag.short === undefined ? "" : ` -s ${flag.short.slice(1)}`;
    return `complete -c dstack -n ${quoted(condition)}${short} -l ${flag.long.slice(2)} -d ${quoted(flag.description)}`;
  };
  const lines = ["# dstack completion for fish: dstack completion fish | source"];
  lines.push(...flagsOf(program).map((flag) => option("__fish_use_subcommand", flag)));
  for (const entry of entriesOf(program)) {
    const seen = `__fish_seen_subcommand_from ${entry.name}`;
    lines.push(
      `complete -c dstack -f -n __fish_use_subcommand -a ${entry.name} -d ${quoted(entry.description)}`,
      ...entry.flags.map((flag) => option(seen, flag)),
    );
    if (entry.choices.length > 0)
      lines.push(`complete -c dstack -f -n ${quoted(seen)} -a ${quoted(entry.choices.join(" "))}`);
    if (entry.takesVm)
      lines.push(
        `complete -c dstack -n ${quoted(seen)} -a "(dstack ${VM_NAMES.replaceAll(/["$]/g, "\\$&")})"`,
      );
  }
  return `${lines.join("\n")}\n`;
}

/** A script that teaches a shell the commands, their options, and the names of CVMs. */
export function completionScript(program: Command, shell: Shell): string {
  return { bash, zsh, fish }[shell](program);
}
