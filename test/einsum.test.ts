/** einsum: known numbers, gradients through the tape, and refusals. The record's cases are in ops.test.ts. */
import t from 'tap';
import { backward } from '../src/autograd/backward.js';
import { einsum } from '../src/ops/einsum.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();

await t.test('known numbers', (t) => scope(async () => {
  const [a, b] = [tensor([[1, 2], [3, 4]]), tensor([[5, 6], [7, 8]])];
  t.same([...await einsum('ij,jk->ik', a, b).data()], [19, 22, 43, 50]);
  t.same([...await einsum('ij, kj -> ki', a, b).data()], [17, 39, 23, 53], 'spaces do not matter');
  t.equal(await einsum('ij,ij->', a, b).item(), 70);
  t.same([...await einsum('ij,j->ij', a, tensor([10, 1])).data()], [10, 2, 30, 4]);
}));

await t.test('gradients reach both operands', (t) => scope(async () => {
  const [a, b] = [tensor([[1, 2], [3, 4]]).requiresGrad_(), tensor([5, 6]).requiresGrad_()];
  backward(einsum('ij,j->', a, b));
  t.same([...await a.grad!.data()], [5, 6, 5, 6]);
  t.same([...await b.grad!.data()], [4, 6]);
  for (const x of [a, b]) x.grad!.release();
}));

await t.test('refusals say what is wrong', (t) => scope(async () => {
  const [a, b] = [tensor([[1, 2], [3, 4]]), tensor([[1, 2, 3]])];
  t.throws(() => einsum('ij->ji', a, b), /"ij->ji" is not of the form "ij,jk->ik"/);
  t.throws(() => einsum('ii,ij->j', a, b), /names i twice in one operand/);
  t.throws(() => einsum('ij,kl->im', a, b), /has m in the result but in neither operand/);
  t.throws(() => einsum('ij,jk->ik', a, b), /j of "ij,jk->ik" has size 2 in the first operand and 1 in the second/);
  t.throws(() => einsum('ijk,kl->ijl', a, b), /gives 3 letters to an operand of shape \[2, 2\]/);
}));

runtime.device.close();
