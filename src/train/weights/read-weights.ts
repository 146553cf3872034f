import { openTensorFile } from '../../io/open-tensor-file.js';
import { interpret, type Weights } from './weights.js';

/** Opens a file of weights; see {@link openTensorFile} for what is refused. */
export const readWeights = async (path: string): Promise<Weights> => interpret(await openTensorFile(path));
