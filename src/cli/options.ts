/**
 * Command lines declared as data:
 *
 *     const options = { config: configFile(), epochs: int({ min: 1, default: 14, help: 'epochs to train' }), ... };
 *     const { values, source } = parseOptions({ name: 'train', summary: '...', options }, process.argv.slice(2));
 *
 * `values` is typed by the declaration. Names are camelCase in code and kebab-case on the command line.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { UserError } from '../errors.js';
import { camel, configValues, kebab, merge, type OtherNames, parseConfig, type Parsed, readValue, wayOn } from '../train/options/config-values.js';
import type { OptionSpec, OptionSpecs } from '../train/options/specs.js';

export { kebab, type Parsed, toConfig } from '../train/options/config-values.js';
export { adapterOption, choice, configFile, flag, int, number, numbers, text, texts, workersOption } from '../train/options/specs.js';
export type { OptionSpec, OptionSpecs, OptionValues } from '../train/options/specs.js';

export interface CommandSpec<S extends OptionSpecs> {
  /** `train` is called as `node dist/train.js`. */
  name: string;
  /** What the command does, in a sentence or two. */
  summary: string;
  options: S;
  /** What stands behind the options, such as `IMAGE`; without it nothing may stand there. */
  positional?: { name: string; help: string; atLeast?: number };
  otherNames?: OtherNames;
  /** Lines below the options in the help. */
  more?: readonly string[];
  /** Complete command lines shown below the help. */
  examples?: readonly string[];
}

/** Where no terminal sets the width, every option keeps to one line. */
const WIDE = 200;

/** Thrown after the help has been printed; the command ends without an error. */
export class HelpShown extends Error {
  override readonly name: string = 'HelpShown';
}

const call = (name: string): string => `node dist/${name}.js`;

const describe = (spec: OptionSpec<unknown>): string => {
  if (spec.kind === 'flag') return spec.help;
  const usual = spec.defaultText ?? (spec.default === undefined ? undefined : Array.isArray(spec.default) ? spec.default.join(',') : String(spec.default));
  return usual === undefined ? spec.help : `${spec.help} (default: ${usual})`;
};

/** A flag that is on by default shows and takes `--no-name`; both forms of every flag are understood. */
const addOption = (command: Command, name: string, spec: OptionSpec<unknown>): void => {
  const long = `--${kebab(name)}`;
  if (spec.kind !== 'flag') {
    command.addOption(new Option(`${long} <${spec.placeholder}>`, describe(spec)));
    return;
  }
  const negative = `--no-${kebab(name)}`;
  const on = spec.default === true;
  command.addOption(new Option(long, describe(spec)).hideHelp(on));
  command.addOption(new Option(negative, `turns off: ${spec.help}`).hideHelp(!on));
};

const buildCommand = <S extends OptionSpecs>(spec: CommandSpec<S>, print: (text: string) => void): Command => {
  const command = new Command(call(spec.name)).description(spec.summary).helpOption('-h, --help', 'show this help');
  command.exitOverride().configureOutput({
    writeOut: print,
    writeErr: () => undefined,
    getOutHelpWidth: () => (process.stdout.isTTY ? process.stdout.columns : WIDE),
  }).allowExcessArguments(true);
  command.configureHelp({ optionTerm: (option) => option.flags.replace(/[<>]/g, '') });
  for (const [name, option] of Object.entries(spec.options)) addOption(command, name, option);
  if (spec.positional) command.argument(spec.positional.atLeast ? `<${spec.positional.name}...>` : `[${spec.positional.name}...]`, spec.positional.help);
  if (spec.more?.length) command.addHelpText('after', `\n${spec.more.join('\n')}`);
  if (spec.examples?.length) command.addHelpText('after', `\nExamples:\n${spec.examples.map((line) => `  ${line}`).join('\n')}`);
  return command;
};

const seeHelp = (name: string): string => `"${call(name)} --help" lists all options.`;

/** Turns Commander's complaint into ours; anything else is passed on. */
const explain = <S extends OptionSpecs>(error: unknown, spec: CommandSpec<S>): never => {
  if (!(error instanceof CommanderError)) throw error;
  const named = /'([^']*)'/.exec(error.message)?.[1] ?? '';
  const option = named.split(/[ =]/)[0]!;
  const flags = Object.entries(spec.options).map(([name, { kind, default: usual }]) => (kind === 'flag' && usual === true ? `no-${kebab(name)}` : kebab(name)));
  switch (error.code) {
    case 'commander.helpDisplayed':
    case 'commander.help':
      throw new HelpShown();
    case 'commander.unknownOption': {
      const given = option.replace(/^--?/, '');
      throw new UserError(`There is no option ${option}.${wayOn(given, spec.otherNames ?? {}, [...flags, 'help'], (name) => `--${name}`)} ${seeHelp(spec.name)}`);
    }
    case 'commander.optionMissingArgument':
      throw new UserError(`${option} needs a value: ${option} ${/<(.*)>/.exec(named)?.[1]?.replace(/[,.]+$/, '') ?? ''}. ${seeHelp(spec.name)}`);
    case 'commander.missingArgument':
      throw new UserError(`At least one ${spec.positional?.name} is needed. ${seeHelp(spec.name)}`);
    default:
      throw new UserError(`${error.message.replace(/^error: /, '')}. ${seeHelp(spec.name)}`);
  }
};

/** Some editors begin a file with a mark of its byte order. */
export const withoutMark = (text: string): string => text.replace(/^\uFEFF/, '');

const readConfig = (path: string, option: string): Record<string, unknown> => {
  let content: unknown;
  try {
    content = JSON.parse(withoutMark(readFileSync(path, 'utf8')));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(code === 'ENOENT' ? `${option}: there is no file ${path}.` : `${option}: ${path} cannot be read as JSON: ${message}.`);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new UserError(`${option}: ${path} must hold one JSON object such as {"epochs": 10}.`);
  }
  return content as Record<string, unknown>;
};

/** As {@link parseConfig}, of a JSON file that `option` names. */
export const parseConfigFile = <S extends OptionSpecs>(options: S, path: string, option: string): Parsed<S> =>
  parseConfig(options, path, readConfig(path, option));

/**
 * Reads a command line: explicit options over `--config` over defaults.
 *
 * @param args what stands behind the script's name, usually `process.argv.slice(2)`
 * @param print where `--help` goes
 * @throws UserError for unknown options and values that are not allowed; HelpShown after `--help`
 */
export const parseOptions = <S extends OptionSpecs>(
  spec: CommandSpec<S>,
  args: readonly string[],
  print: (text: string) => void = (line) => void process.stdout.write(line),
): Parsed<S> => {
  const command = buildCommand(spec, print);
  try {
    command.parse([...args], { from: 'user' });
  } catch (error) {
    explain(error, spec);
  }
  const given: Record<string, unknown> = command.opts();
  const explicit: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(spec.options)) {
    // Commander presets the counterpart of a `--no-` flag to true; only what was typed counts here.
    if (command.getOptionValueSource(camel(kebab(name))) === 'cli') explicit[name] = readValue(`--${kebab(name)}`, option, given[camel(kebab(name))]);
  }
  if (!spec.positional && command.args.length > 0) {
    throw new UserError(`"${command.args[0]}" was not expected: ${call(spec.name)} takes only options, each beginning with "--". ${seeHelp(spec.name)}`);
  }
  const configName = Object.keys(spec.options).find((name) => spec.options[name]!.kind === 'config');
  const configPath = configName && (explicit[configName] as string | undefined);
  const config = configPath ? configValues(configPath, readConfig(configPath, `--${kebab(configName)}`), spec.options, spec.otherNames) : {};
  return { ...merge(spec.options, config, explicit), positional: command.args };
};
