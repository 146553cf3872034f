/**
 * What the options of training are called by the PyTorch programs that people come from (WS-DAN.PyTorch, wvinzh’s, timm, Lightning), where no similar
 * name leads to ours.
 */
export const otherNames: Readonly<Record<string, string>> = {
  'learning-rate': '--lr', wd: '--weight-decay', b: '--batch-size', 'max-epochs': '--epochs', 'decay-epochs': '--lr-step', 'decay-rate': '--lr-gamma', 'lr-scheduler': '--schedule',
  'gradient-clip-val': '--clip-grad-norm', 'grad-accum-steps': '--batch-size for a whole step and --micro-batch for its parts', 'accumulate-grad-batches': '--batch-size for a whole step and --micro-batch for its parts',
  net: '--model', arch: '--model', amp: '--precision mixed', fp16: '--precision mixed', tag: '--dataset', parts: '--attentions',
  pretrained: '--weights FILE, such as torchvision’s', 'initial-checkpoint': '--weights', ckpt: '--weights, or --resume with the --out of the run', 'ckpt-path': '--weights, or --resume with the --out of the run',
  'early-stopping': '--patience', 'checkpoint-hist': '--keep-every', 'save-dir': '--out', 'save-freq': '--save-every or --keep-every', experiment: '--out', 'print-freq': '--log-every', j: '--workers',
  'crop-pct': '--resize-ratio', 'color-jitter': '--brightness, --contrast and --saturation', 'overfit-batches': '--limit-train, with as many images as --batch-size',
  gpu: '--adapter', 'gpu-ids': '--adapter', device: '--adapter', 'eval-only': 'a command of its own, node dist/eval.js', evaluate: 'a command of its own, node dist/eval.js',
};
