import assert from 'node:assert/strict'
import { readFileSync, unlinkSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { useSmallFuse } from '../fixtures/small-fuse.ts'

/** On file systems of our own, mounted for the test: what the kernel really answers there. */
describe('on a FUSE file system', () => {
  const crew = useCrew()
  const fuse = useSmallFuse()
  const at = useFolder()

  before(function () {
    if (fuse.canMount()) return
    console.log('        skipped: no FUSE file system can be mounted here')
    this.skip()
  })

  async function stderrOf({ child }: LockProcess): Promise<string> {
    let text = ''
    for await (const chunk of child.stderr ?? []) text += chunk
    return text
  }

  for (const name of ['ENOLCK', 'ENOSYS', 'EOPNOTSUPP'] as const) {
    it(`that refuses flock with ${name}: LockUnsupportedError names it and its mount point`, async () => {
      const folder = await fuse.mount('fuse.noflock', constants.errno[name])
      const mate = await crew.process()
      await assert.rejects(mate.call('acquire', join(folder, 'data')), {
        isPsLockError: true,
        code: 'PSLOCK_UNSUPPORTED',
        message: new RegExp(`fuse\\.noflock at ${folder}\\).*lockPath.*lockfile`, 's'),
      })
    })
  }

  it('without flock, the lockfile backend excludes, and lockPath is the other way out', async () => {
    const folder = await fuse.mount('fuse.noflock', constants.errno.ENOLCK)
    const path = join(folder, 'data')
    const refused = await crew.process()
    await assert.rejects(refused.call('acquire', path), { code: 'PSLOCK_UNSUPPORTED' })
    await refused.call('acquire', path, { lockPath: at('l') })
    unlinkSync(`${path}.lock`)
    const env = { ...process.env, LOCK_WORKER_OPTIONS: '{"backend":"lockfile","staleMs":30000}' }
    const mates = await crew.processes(4, { env })
    await Promise.all(mates.map((mate) => mate.call('increment', path, at('counter'), { times: 25 })))
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
    assert.equal(count, 100)
    assert.ok(handOvers > 4, 'they did contend')
    await mates[0]!.call('acquire', path)
    assert.equal(await mates[1]!.call('tryAcquire', path), false)
  })

  it('that keeps flock in the local kernel: it excludes here, and one warning says how far it reaches', async () => {
    const folder = await fuse.mount('fuse.sshfs', 0)
    const mate = await crew.process({ stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
    const said = stderrOf(mate)
    await mate.call('acquire', join(folder, 'data'))
    await mate.call('acquire', join(folder, 'other'), { as: 'other' })
    const quiet = await crew.process({ execArgv: [...process.execArgv, '--no-warnings'] })
    assert.equal(await quiet.call('tryAcquire', join(folder, 'data')), false)
    mate.child.disconnect()
    const stderr = await said
    assert.deepEqual(stderr.match(/PSLOCK_\w+/g), ['PSLOCK_NETWORK_FILE_SYSTEM'])
    assert.match(stderr, new RegExp(`fuse\\.sshfs at ${folder} `))
  })

  it('of any other kind nothing is said', async () => {
    const folder = await fuse.mount('fuse.gocryptfs', 0)
    const mate = await crew.process({ stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
    const said = stderrOf(mate)
    await mate.call('acquire', join(folder, 'data'))
    mate.child.disconnect()
    assert.equal(await said, '')
  })
})
