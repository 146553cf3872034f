import { writeFileAtomic } from '../io/atomic.js';
import { checkOutputs } from '../io/output.js';
import { allBackboneFacts, backbonePage, backboneRows } from './backbone-table.js';
import { openRuntime } from './open-runtime.js';
import { adapterOption, parseOptions, text } from './options.js';
import { runCommand } from './run-command.js';

const spec = {
  name: 'backbones',
  summary: 'Lists the backbones: parameters, feature maps, multiply-adds.',
  options: {
    markdown: text({ help: 'write the documentation’s page to this file', placeholder: 'FILE' }),
    adapter: adapterOption,
  },
  examples: ['node dist/backbones.js', 'node dist/backbones.js --markdown docs/backbones.md'],
};

const list = async (): Promise<void> => {
  const { values: { markdown, adapter } } = parseOptions(spec, process.argv.slice(2));
  checkOutputs({ '--markdown': markdown });
  const runtime = await openRuntime(adapter);
  const facts = allBackboneFacts(runtime);
  console.log(backboneRows(facts).join('\n'));
  if (markdown) {
    writeFileAtomic(markdown, backbonePage(facts));
    console.log(`Written: ${markdown}`);
  }
  runtime.device.close();
};

await runCommand(list);
