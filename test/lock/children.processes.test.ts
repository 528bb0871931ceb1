import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** A lock belongs to one process: no child inherits it, and no child's end takes it away. */
describe('child processes', () => {
  const crew = useCrew()
  const at = useFolder()

  const children: [string, () => unknown][] = [
    ['spawnSync', () => spawnSync('true')],
    ['execFileSync', () => execFileSync('sh', ['-c', 'exec 3<"$0"; exec 3<&-', at('data.lock')])],
    ['spawn', () => once(spawn('true', { stdio: 'ignore' }), 'close')],
    ['fork', async () => (await crew.process()).signal('SIGKILL')],
    [
      'a shell that opens the lock file itself',
      () => spawnSync('sh', ['-c', 'echo >>"$0"; cat "$0"', at('data.lock')]),
    ],
  ]

  for (const [what, run] of children) {
    it(`a hold is not dropped by the end of a child: ${what}`, async () => {
      const mate = await crew.process()
      for (const mode of ['exclusive', 'shared'] as const) {
        const held = await new PsLock(at('data')).acquire({ mode })
        await run()
        assert.equal(await mate.call('tryAcquire', at('data'), { as: 'no' }), false)
        held.release()
        assert.equal(await mate.call('tryAcquire', at('data')), true)
        await mate.call('release')
      }
    })
  }

  it('a child has no descriptor of a lock file, however it was started', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    assert.ok(openFiles('/proc/self/fd').includes(lock.path), 'this process has')
    // Inherited numbers would be seen here: the shell closes nothing.
    const seen = execFileSync('sh', [
      '-c',
      'for fd in /proc/$$/fd/*; do readlink "$fd"; done; true',
    ]).toString()
    assert.ok(!seen.includes(lock.path), seen)
    const mate = await crew.process()
    assert.ok(!openFiles(`/proc/${mate.pid}/fd`).includes(lock.path))
    held.release()

    function openFiles(folder: string): string[] {
      const names = execFileSync('ls', [folder.replace('self', String(process.pid))])
        .toString()
        .trim()
        .split('\n')
      return names.map((name) => {
        try {
          return readlinkSync(`${folder}/${name}`)
        } catch {
          return ''
        }
      })
    }
  })

  it('a child is a process like any other: it waits for its parent, and may be waited for', async () => {
    const lock = new PsLock(at('data'))
    const mate = await crew.process()
    await lock.exclusive(async () => {
      await assert.rejects(mate.call('acquire', at('data'), { timeoutMs: 60 }), { code: 'PSLOCK_TIMEOUT' })
    })
    // The lock was free before the promise resolved: a child that is waited for, blocking, gets it.
    const script = `import { PsLock } from ${JSON.stringify(codeUrl('src/lock/lock'))}
      new PsLock(process.argv[1]).exclusiveSync(() => console.log('in'), { timeoutMs: 5000 })`
    const args = [...LOADER, '--input-type=module', '-e', script, at('data')]
    assert.equal(execFileSync(process.execPath, args).toString(), 'in\n')
  })

  it('this process opening, reading and closing the lock file drops nothing', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    for (const mode of ['exclusive', 'shared'] as const) {
      const held = await lock.acquire({ mode })
      readFileSync(lock.path)
      closeSync(openSync(lock.path, 'r+'))
      writeFileSync(lock.path, 'text', { flag: 'a' })
      assert.equal(await mate.call('tryAcquire', at('data')), false)
      held.release()
    }
  })
})
