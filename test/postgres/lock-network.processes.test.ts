import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { LOADER } from '../fixtures/code.ts'
import type { PgLockCommands } from '../fixtures/pg-lock-worker.ts'
import { type PeerProcess, usePeers } from '../harness/peer.ts'
import { usePostgres } from '../harness/postgres.ts'

/** Another one in each process, for such tests may run at the same time. */
const NET = `10.${200 + ((process.pid >> 8) % 50)}.${process.pid & 255}`
const HERE = `${NET}.1`
const THERE = `${NET}.2`
const CABLE = `psl${process.pid}`

/** A process in a network of its own, with one cable to here; that is gone some time after the process has ended. */
const APART = { execPath: 'unshare', execArgv: ['-n', process.execPath, ...LOADER] }

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' })

function connect({ pid }: PeerProcess<PgLockCommands>): void {
  const there = (...args: string[]) =>
    execFileSync('nsenter', ['-t', String(pid), '-n', 'ip', ...args], { stdio: 'pipe' })
  ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'cable', 'netns', String(pid))
  ip('addr', 'add', `${HERE}/30`, 'dev', CABLE)
  ip('link', 'set', CABLE, 'up')
  there('addr', 'add', `${THERE}/30`, 'dev', 'cable')
  there('link', 'set', 'cable', 'up')
}

const canUnplug =
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  (() => {
    try {
      ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', `${CABLE}x`)
      ip('link', 'del', CABLE)
      execFileSync('nsenter', ['--version'], { stdio: 'pipe' })
      return true
    } catch {
      return false
    }
  })()

/** The cable is unplugged: nobody is told, so each side must find out by itself. Root only, with the right to do that. */
;(canUnplug ? describe : describe.skip)('PgLock: the network is cut', () => {
  const server = usePostgres({ own: true, settings: { listen_addresses: '*' } })
  const start = usePeers<PgLockCommands>('pg-lock-worker')

  before(async () => {
    appendFileSync(join(server().folder, 'data/pg_hba.conf'), `\nhost all all ${THERE}/32 trust\n`)
    await server().sql('select pg_reload_conf()')
  })

  afterEach(() => {
    ip('link', 'del', CABLE)
  })

  it('the holder is told within 5 s, and the server frees the lock within 15 s, but not before', async () => {
    const [peer] = await start([], 1, APART)
    connect(peer!)
    const url = `postgres://postgres@${HERE}:${server().port}/postgres#cut`
    await peer!.call('acquire', url)
    const loss = peer!.call('lossOf', url)
    await sleep(500)
    ip('link', 'set', CABLE, 'down')
    const cutAt = performance.now()
    const lock = new PgLock(server().url, { name: 'cut' })
    let toldMs = Number.POSITIVE_INFINITY
    void loss.then(() => {
      toldMs = performance.now() - cutAt
    })
    const held = await lock.acquire()
    const freedMs = performance.now() - cutAt
    assert.ok(toldMs < 5000, `told after ${toldMs} ms`)
    assert.ok(freedMs > 5000 && freedMs < 15_000, `freed after ${freedMs} ms`)
    assert.equal(((await loss) as { code?: string }).code, 'PSLOCK_LOST')
    await held.release()
    await lock.close()
  })
})
