// The other side of host.mjs: starts a library in a process of its own and asks it.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const library = (name) => ({ command: process.execPath, args: [here('host.mjs'), name], env: {} });
const TORCH_THREADS = '2';

/** Every peer by name; `webgpu` says whether Pipit's speed-up counts against it. */
export const PEERS = {
  pipit: { title: 'Pipit', webgpu: true, ...library('pipit') },
  tfjs: { title: 'TensorFlow.js', webgpu: true, ...library('tfjs') },
  'jax-js': { title: 'jax-js', webgpu: true, ...library('jax-js') },
  ort: { title: 'ONNX Runtime', webgpu: true, ...library('ort') },
  torch: {
    title: 'PyTorch CPU', webgpu: false, command: process.env.PYTHON ?? '/usr/bin/python3', args: [here('torch_peer.py'), TORCH_THREADS],
    // Idle threads sleep instead of spinning, which would take time from the others' turns.
    env: { OMP_NUM_THREADS: TORCH_THREADS, OMP_WAIT_POLICY: 'passive' },
  },
};

const LOG_CHARACTERS = 2000;
const ANSWER_LIMIT_MS = 600_000;

export class Peer {
  #child;
  #waiting = null;
  #log = '';
  #ended = '';

  constructor(name) {
    this.name = name;
    const { title, webgpu, command, args, env } = PEERS[name];
    Object.assign(this, { title, webgpu });
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
    const keep = (text) => { this.#log = (this.#log + text).slice(-LOG_CHARACTERS); };
    this.#child.stdout.on('data', keep);
    this.#child.stderr.on('data', keep);
    this.#child.stdin.on('error', () => {});
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => this.#end(`its process ended (${signal ?? code}): ${this.#log.trim().split('\n').at(-1)}`));
    createInterface({ input: this.#child.stdio[3] }).on('line', (line) => this.#settle(JSON.parse(line)));
  }

  /** Resolves with the answer; an answer that is not ok, or none in time, throws. */
  async ask(command, request = {}) {
    if (this.#ended) throw new Error(this.#ended);
    const answer = await new Promise((resolve) => {
      const alarm = setTimeout(() => {
        this.#end(`no answer within ${ANSWER_LIMIT_MS / 1000} s`);
        this.#child.kill('SIGKILL');
      }, ANSWER_LIMIT_MS);
      this.#waiting = (result) => {
        clearTimeout(alarm);
        resolve(result);
      };
      this.#child.stdin.write(`${JSON.stringify({ command, ...request })}\n`);
    });
    if (!answer.ok) throw new Error(answer.error);
    return answer;
  }

  close() {
    this.#child.stdin.end();
    this.#child.kill();
  }

  #settle(answer) {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(answer);
  }

  #end(why) {
    this.#ended ||= why;
    this.#settle({ ok: false, error: this.#ended });
  }
}
