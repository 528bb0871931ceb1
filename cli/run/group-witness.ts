import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long one signal may take to reach everybody it was sent to, one after the other. */
const SPREAD_MS = 20
/** How much sooner than us the witness may have been told. */
const SOONER_MS = 50
/** After this a witness that is still at work, on a busy machine, is no longer waited for. */
const AT_MOST_MS = 500
const LOOK_EVERY_MS = 5

interface Question {
  readonly signal: NodeJS.Signals
  isAnswered: boolean
}

/**
 * Whether a signal was sent to everybody in our process group (`kill -- -pgid`, a terminal, a service manager), or to us
 * alone: the system does not tell. So there is one more process in the group, a shell that does nothing but say which
 * signals it gets: what it gets has reached the command as well, and passing it on would be a second time.
 */
export class GroupWitness implements Disposable {
  readonly #process: ChildProcess
  /** What it has said before anybody asked. */
  #told: { readonly name: string; readonly at: number }[] = []
  /** Those that are being waited for, the oldest first. */
  readonly #open = new Set<Question>()
  /** Until then a signal would end the witness. */
  readonly isReady: Promise<unknown>
  #isThere = true

  /** @param signals those that it will be asked about */
  constructor(signals: readonly NodeJS.Signals[]) {
    const witness = spawn('sh', ['-c', SCRIPT, 'pslock', ...signals.map((name) => name.slice(3))], {
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    // Without it everything is passed on, as if sent to us alone.
    const gone = () => {
      this.#isThere = false
    }
    witness.on('error', gone).on('exit', gone)
    for (const stream of [witness.stdin, witness.stdout]) stream.on('error', gone)
    witness.stdout.setEncoding('latin1').on('data', (text: string) => {
      for (const name of text.split('\n')) this.#hear(`SIG${name}`)
    })
    const said = new Promise((resolve) => {
      witness.on('error', resolve).on('exit', resolve)
      witness.stdout.once('data', resolve)
    })
    this.isReady = Promise.race([said, sleep(AT_MOST_MS, undefined, { ref: false })]).then(() => {
      witness.unref()
      for (const stream of [witness.stdin, witness.stdout]) if (stream instanceof Socket) stream.unref()
    })
    this.#process = witness
  }

  /** Asked as soon as the signal is here; it takes some twenty milliseconds. */
  async hasSeen(signal: NodeJS.Signals): Promise<boolean> {
    const start = performance.now()
    if (this.#takeTold(signal, start)) return true
    const question = { signal, isAnswered: false }
    this.#open.add(question)
    let isIdle = false
    let wasAboutTo = false
    while (this.#isThere && !question.isAnswered) {
      const waitedMs = performance.now() - start
      // What it has said when it was found idle is read one look later.
      if ((isIdle && waitedMs > SPREAD_MS) || waitedMs > AT_MOST_MS) break
      const state = stateOf(this.#process.pid, signal)
      wasAboutTo ||= state === 'about to see it'
      isIdle = state === 'idle'
      await sleep(LOOK_EVERY_MS)
    }
    this.#open.delete(question)
    return question.isAnswered || wasAboutTo
  }

  [Symbol.dispose](): void {
    this.#isThere = false
    this.#process.kill('SIGKILL')
  }

  /** Each word of the witness is for one question only: the oldest of that name, or else the next one. */
  #hear(name: string): void {
    const question = [...this.#open].find(({ signal, isAnswered }) => signal === name && !isAnswered)
    if (question === undefined) this.#told.push({ name, at: performance.now() })
    else question.isAnswered = true
  }

  #takeTold(signal: NodeJS.Signals, start: number): boolean {
    this.#told = this.#told.filter(({ at }) => at >= start - SOONER_MS)
    const index = this.#told.findIndex(({ name }) => name === signal)
    if (index === -1) return false
    this.#told.splice(index, 1)
    return true
  }
}

/**
 * Ends when nobody holds the other end of its input any more: when pslock has ended, however that was. A signal may end a
 * `read` as well, so that the end is believed only where there was none.
 */
const SCRIPT = `
for name; do trap "told=1; echo $name" $name; done
echo ready
while :; do
  told=0
  read line || [ $told = 1 ] || exit 0
done`

/** What the kernel knows of it. Without /proc (macOS) it counts as idle as soon as the signal has had its time. */
function stateOf(pid: number | undefined, signal: NodeJS.Signals): 'about to see it' | 'busy' | 'idle' {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const pending = [...status.matchAll(/^(?:Sig|Shd)Pnd:\s*([0-9a-f]+)$/gm)]
    const bit = 1n << BigInt(constants.signals[signal] - 1)
    if (pending.some(([, bits]) => (BigInt(`0x${bits}`) & bit) !== 0n)) return 'about to see it'
    return /^State:\s*[SIT]/m.test(status) ? 'idle' : 'busy'
  } catch {
    return 'idle'
  }
}
