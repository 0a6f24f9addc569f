// A local server on a free port of 127.0.0.1, with two tokens, which can be stopped, killed and
// restarted.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const READER = 'reader-0123456789abcdef';
const SCRAPER = 'scraper-0123456789abcdef';

export class Server {
  static async start(binary) {
    const server = new Server();
    server.binary = resolve(binary);
    server.folder = await mkdtemp(join(tmpdir(), 'callscope-clients.'));
    // The system chooses the first port; later starts use the same one.
    server.address = '127.0.0.1:0';
    await server.start();
    return server;
  }

  async start() {
    const database = `sqlite://${join(this.folder, 'calls.db')}`;
    this.process = spawn(
      this.binary,
      ['serve', '--listen', this.address, '--database-url', database, '--client-timeout-seconds', '2', '--log-format', 'json'],
      {
        cwd: this.folder,
        env: { CALLSCOPE_TOKENS: `reader:READ:${READER} scraper:METRICS:${SCRAPER}` },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    this.ended = new Promise((done) => this.process.once('exit', done));
    this.address = await new Promise((resolve, reject) => {
      let log = '';
      this.process.stderr.setEncoding('utf8').on('data', (part) => {
        log += part;
        const [, found] = /"graphql":"http:\/\/([^"]+)\/graphql"/.exec(log) ?? [];
        if (found) {
          resolve(found);
        }
      });
      this.process.once('exit', () => reject(new Error(`the server does not start: ${log}`)));
    });
  }

  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    await this.ended;
  }

  async end() {
    await this.stop('SIGKILL');
    await rm(this.folder, { recursive: true });
  }

  // Returns once there are `count` open subscriptions.
  async subscriptions(count) {
    for (let tries = 0; tries < 200; tries++) {
      const headers = { Authorization: `Bearer ${SCRAPER}` };
      const answer = await fetch(`http://${this.address}/metrics`, { headers });
      const [, open] = /^callscope_subscriptions (\d+)$/m.exec(await answer.text());
      if (Number(open) === count) {
        return;
      }
      await new Promise((done) => setTimeout(done, 25));
    }
    throw new Error(`there are not ${count} subscriptions`);
  }
}
