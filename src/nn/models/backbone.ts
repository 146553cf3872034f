import type { Module } from '../module.js';
import type { NameTable } from './names.js';

/** A network that ends in a feature map: images [N, H, W, 3] → [N, h, w, channels]. */
export interface Backbone extends Module {
  /** Channels of the result. */
  readonly channels: number;
  /** Input pixels per output pixel, roughly: convolutions without padding eat the border besides. */
  readonly stride: number;
  /** Keeps only what enters each stage for backward, which computes the rest again (see `checkpoint`). */
  checkpointing: boolean;
}

export interface BackboneOptions {
  /** Weight of new batch statistics in the running averages. */
  readonly bnMomentum: number;
  /** Turns pixels normalised with ImageNet's mean and deviation into −1 … 1, what Google's Inception weights were trained on. */
  readonly transformInput: boolean;
}

/** What a backbone's file tells about it. */
export interface BackboneRecord {
  /** Builds it with fresh weights; parameter names are torchvision's. */
  readonly create: (options: BackboneOptions) => Backbone;
  /** How other programs call its weights. */
  readonly names: NameTable;
  /** Where WS-DAN takes its attention maps from unless told otherwise; default `head`. */
  readonly attentionSource?: 'head' | 'features';
  /** Whether it knows {@link BackboneOptions.transformInput}. */
  readonly transformsInput?: boolean;
}
