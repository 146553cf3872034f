/** What Pipit offers on every platform; `index.ts` (Node) and `browser.ts` add how an adapter is opened there. */
import type { Runtime } from './kernels/runtime.js';
import { defaultRuntime } from './tensor/create.js';
import { memoryReport as reportOf, type MemoryReport } from './tensor/storage.js';

/** Where the adapter's memory is, by owner: parameters, gradients, optimiser, activations … */
export const memoryReport = (runtime: Runtime = defaultRuntime()): MemoryReport => reportOf(runtime);

export { UserError } from './errors.js';
export type { Live } from './kernels/params.js';
export { Runtime } from './kernels/runtime.js';
export { defaultRuntime, type Nested, type NumberArray, setDefaultRuntime, tensor, type TensorOptions, write } from './tensor/create.js';
export { keep, scope } from './tensor/scope.js';
export { type DType, Tensor, type TypedArray } from './tensor/tensor.js';
export type { Shape } from './tensor/shape.js';
export type { MemoryReport } from './tensor/storage.js';
export type { Device } from './device/device.js';
export type { MemoryPlan } from './device/dry-pool.js';
export type { AdapterReport, DeviceLimits } from './device/gpu.js';

export * from './ops/index.js';
export { type BackwardCall, type Call, type Cost, type Op, run, type Runnable } from './ops/op.js';
export type { OpCase } from './ops/cases.js';
export type { Nd } from './ops/nd.js';
export type { Pair } from './ops/arguments.js';
export { ops } from './ops/registry.js';

export { backward, retainGrad } from './autograd/backward.js';
export { Captured } from './autograd/captured.js';
export { checkpoint } from './autograd/checkpoint.js';
export { NanTracer } from './autograd/nan-tracer.js';
export { enableGrad, isGradEnabled, isRecomputing, noGrad } from './autograd/tape.js';
export { gradcheck, type GradcheckInput, type GradcheckOptions, type GradcheckReport } from './autograd/gradcheck.js';

export { type AnyModule, buffer, Module, type ModuleHook, type Named, parameter, type StateDict, withModuleHook } from './nn/module.js';
export {
  AvgPool2d, BatchNorm2d, type Behind, Conv2d, type Conv2dLayerOptions, Dropout, freezeBatchNorm, GlobalAvgPool2d, Linear, MaxPool2d, type PoolOptions, ReLU,
  Sequential,
} from './nn/layers.js';
export { defaultUniform, kaimingNormal, seedInit, truncatedNormal, withoutInit } from './nn/init.js';
export { GradScaler, type GradScalerOptions, type GradScalerState } from './nn/grad-scaler.js';
export { ModelEma, type ModelEmaOptions } from './nn/model-ema.js';
export { AdamW, type AdamWOptions, Optimizer, type OptimizerPart, SGD, type SgdOptions } from './nn/optimizer.js';
export type { ActiveGroup, CommonOptions, OptimizerRules, ParamGroup } from './nn/parameter-groups.js';
export { learningRate, type ScheduleOptions, setLearningRates } from './nn/schedule.js';
export type { Backbone, BackboneOptions } from './nn/models/backbone.js';
export { type BackboneName, backboneNames, createBackbone } from './nn/models/index.js';
export { BasicBlock, Bottleneck, ResNet, type ResNetOptions } from './nn/models/resnet.js';

export type { Box, Predicted } from './train/predict.js';
export type { Guess } from './train/report/types.js';
export { load, save } from './train/state-bytes.js';
export type { Drawable, Picture } from './train/picture.js';
export { openTrained, TrainedModel } from './train/trained-model.js';

export { attentionCrop, attentionDrop, type ChosenMaps, chooseAttentionMaps, type Cropped, type Dropped } from './wsdan/augment.js';
export { FeatureCenters } from './wsdan/centers.js';
export { localiseAndRefine, type Prediction } from './wsdan/localise.js';
export { MetricSums } from './wsdan/metric-sums.js';
export { PlainClassifier, WSDAN, type WsdanOutput } from './wsdan/model.js';
export { defaultWsdan, type WsdanOptions } from './wsdan/options.js';
export { bilinearAttentionPooling } from './wsdan/pooling.js';
export { batchOf, type BatchSource, type Rows } from './wsdan/micro-batches.js';
export { type Draws, type StepMetric, stepMetrics, type StepOptions, type StepResult, trainMicroBatches, trainStep } from './wsdan/train-step.js';

// What further types are called that calls lead to.
export type { GradientScaling, OptimizerState } from './nn/optimizer.js';
