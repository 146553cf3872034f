import { fail } from '../errors.js';
import { withoutInit } from '../nn/init.js';
import { createBackbone } from '../nn/models/index.js';
import type { AnyModule } from '../nn/module.js';
import { compareLayers, type LayerParity, type Parity, type ParityFixture, readParityFixture } from '../train/parity.js';
import { loadWeights } from '../train/weights/load-weights.js';
import { readWeights } from '../train/weights/read-weights.js';
import { WSDAN } from '../wsdan/model.js';
import { defaultWsdan } from '../wsdan/options.js';
import { inColumns } from './columns.js';
import { openRuntime } from './open-runtime.js';
import { adapterOption, flag, number, parseOptions, text } from './options.js';
import { runCommand } from './run-command.js';

const spec = {
  name: 'parity',
  summary: 'Compares a network with a recording of it in PyTorch, layer by layer: activations, their gradients, gradients of weights.',
  options: {
    weights: text({ help: 'the weights that the recorded network had (.safetensors, .pth, .pt, .ckpt)', placeholder: 'FILE' }),
    fixture: text({ help: 'the recording, made with test/reference/parity_fixture.py', placeholder: 'FILE' }),
    transformInput: flag({ help: 'bring pixels to −1 … 1 inside Inception, as torchvision does for Google’s weights' }),
    tolerance: number({ help: 'largest error of activations, relative to the largest value of a layer', min: 0, default: 1e-3 }),
    gradientTolerance: number({ help: 'largest error of gradients, likewise', min: 0, default: 1e-2 }),
    adapter: adapterOption,
  },
  examples: ['node dist/parity.js --weights resnet18.weights --fixture resnet18.fixture'],
};

const build = ({ network, model, classes, wsdan }: ParityFixture, transformInput: boolean): AnyModule => withoutInit(() => {
  const backbone = createBackbone(model, { transformInput });
  return network === 'backbone' ? backbone : new WSDAN(backbone, classes, { ...defaultWsdan, ...wsdan });
});

const line = inColumns(44, 18, 21, 21, 21);
const errorText = (parity: Parity | null): string => (parity ? `${parity.worst.toExponential(1)} (rms ${parity.typical.toExponential(1)})` : '–');

const exceeds = (parity: Parity | null, limit: number): boolean => parity !== null && !(parity.worst <= limit);

const parity = async (): Promise<number> => {
  const { values } = parseOptions(spec, process.argv.slice(2));
  const { weights, fixture: path, tolerance, gradientTolerance } = values;
  if (!weights || !path) return fail('name both files: --weights FILE --fixture FILE');
  const fixture = readParityFixture(path);
  const runtime = await openRuntime(values.adapter);
  const module = build(fixture, values.transformInput);
  loadWeights({ module, model: fixture.model, centers: null, alone: fixture.network === 'backbone' }, await readWeights(weights));
  module.nameAll();
  const { layers, unmatched } = await compareLayers(module, fixture);
  if (layers.length === 0) fail(`no recorded layer has the name of one of ${fixture.model}'s: recorded are ${unmatched.slice(0, 5).join(', ')} …`);
  const disagrees = ({ output, gradient, parameters }: LayerParity): string[] => [
    ...(exceeds(output, tolerance) ? ['activations'] : []), ...(exceeds(gradient, gradientTolerance) ? ['gradient'] : []), ...(exceeds(parameters, gradientTolerance) ? ['weights'] : []),
  ];
  console.log(`${fixture.network === 'wsdan' ? 'WS-DAN on ' : ''}${fixture.model}, ${fixture.train ? 'training' : 'evaluation'} mode. Errors: largest, relative to a layer's largest value (root mean square)\n`);
  console.log(line('layer', 'shape', 'activations', 'gradient', 'gradient of weights', 'verdict'));
  for (const layer of layers) {
    const wrong = disagrees(layer);
    console.log(line(layer.name, layer.shape.join('×'), errorText(layer.output), errorText(layer.gradient), errorText(layer.parameters), wrong.length ? `DISAGREES: ${wrong.join(', ')}` : 'ok'));
  }
  console.log(`\n${layers.length} layers compared${unmatched.length ? `; ${unmatched.length} recorded without a counterpart: ${unmatched.slice(0, 8).join(', ')}${unmatched.length > 8 ? ' …' : ''}` : ''}`);
  console.log(verdictOn(layers, tolerance, gradientTolerance));
  runtime.device.close();
  return layers.some((layer) => disagrees(layer).length > 0) ? 1 : 0;
};

/** Forwards run from the first layer to the last, backwards the other way: the first wrong one in each direction is where to look. */
const verdictOn = (layers: readonly LayerParity[], tolerance: number, gradientTolerance: number): string => {
  const forward = layers.find(({ output }) => exceeds(output, tolerance));
  if (forward) return `Activations part at ${forward.name}: look there first.`;
  const back = layers.findLast(({ gradient, parameters }) => exceeds(gradient, gradientTolerance) || exceeds(parameters, gradientTolerance));
  return back ? `Activations agree; gradients part at ${back.name}, on the way back: look there first.` : 'All agree.';
};

await runCommand(parity);
