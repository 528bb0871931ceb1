import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { codeUrl, fixture, LOADER } from '../fixtures/code.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { stoppedBefore } from '../fixtures/stopped.ts'

/** Several users on one file. Only root can be two users, so these tests skip elsewhere, and say so. */
describe('other users', () => {
  const crew = useCrew()
  const at = useFolder()
  const NOBODY = 65534
  const GROUP = 23456
  const stranger = { uid: NOBODY, gid: NOBODY }
  const member = { uid: NOBODY, gid: GROUP }

  before(function () {
    const worker = fixture('lock-worker')
    const probe = ['-e', 'require("fs").accessSync(process.argv[1], 4)', worker]
    const isRoot = process.getuid?.() === 0
    if (isRoot && spawnSync(process.execPath, probe, { ...stranger, stdio: 'ignore' }).status === 0) return
    console.log('        skipped: not root, or another user may not read this checkout')
    this.skip()
  })

  /** Each excludes the other. */
  async function assertExclude(mate: LockProcess, lock = new PsLock(at('data'))): Promise<void> {
    const held = await lock.acquire()
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    held.release()
    await mate.call('acquire', at('data'))
    assert.equal(lock.tryAcquire(), undefined)
    await mate.call('release')
  }

  for (const umask of [0o022, 0o077]) {
    it(`a lock file that root made with umask ${umask.toString(8).padStart(3, '0')} serves who may read the data`, async () => {
      writeFileSync(at('data'), '')
      chmodSync(at('data'), 0o644)
      chmodSync(at(), 0o755)
      const before = process.umask(umask)
      try {
        await new PsLock(at('data')).exclusive(() => {})
      } finally {
        process.umask(before)
      }
      await assertExclude(await crew.process(stranger))
      assert.deepEqual(statSync(at('data.lock')).uid, 0)
    })
  }

  it('a lock file that root is just making, with umask 077, serves others as soon as it is made', async () => {
    chmodSync(at(), 0o777)
    const before = process.umask(0o077)
    const slow = await crew.process(stoppedBefore('chmod')).finally(() => process.umask(before))
    const mate = await crew.process(stranger)
    for (let round = 0; round < 15; round++) {
      const path = at(`data ${round}`)
      writeFileSync(path, '')
      const take = async (one: LockProcess) => {
        await one.call('acquire', path)
        await one.call('release')
      }
      await Promise.all([take(slow), take(mate)])
    }
  })

  it('a lock file that another user made serves root', async () => {
    writeFileSync(at('data'), '')
    chmodSync(at(), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('data'))
    await mate.call('release')
    assert.equal(statSync(at('data.lock')).uid, NOBODY)
    await assertExclude(mate)
  })

  it('the data of a group: the lock file belongs to it too, whoever of it made it', async () => {
    writeFileSync(at('data'), '')
    chownSync(at('data'), 0, GROUP)
    chmodSync(at('data'), 0o660)
    chownSync(at(), 0, GROUP)
    chmodSync(at(), 0o770)
    const [mate, other] = [await crew.process(member), await crew.process({ uid: 12345, gid: GROUP })]
    await assertExclude(mate)
    const { gid, mode, uid } = statSync(at('data.lock'))
    assert.deepEqual([uid, gid, mode & 0o777], [0, GROUP, 0o660])
    await other.call('acquire', at('data'))
    assert.equal(await mate.call('tryAcquire', at('data')), false)
  })

  describe('a lock file that root made, by sudo once, say', () => {
    it('belongs to whom the data belongs to', async () => {
      writeFileSync(at('data'), '')
      chownSync(at('data'), NOBODY, GROUP)
      chmodSync(at('data'), 0o600)
      chmodSync(at(), 0o755)
      await new PsLock(at('data')).exclusive(() => {})
      const { uid, gid, mode } = statSync(at('data.lock'))
      assert.deepEqual([uid, gid, mode & 0o777], [NOBODY, GROUP, 0o600])
      await assertExclude(await crew.process(stranger))
    })

    it('and where there is no data yet, to whom the folder belongs to', async () => {
      mkdirSync(at('home'))
      chownSync(at('home'), NOBODY, NOBODY)
      chmodSync(at('home'), 0o700)
      chmodSync(at(), 0o755)
      await new PsLock(at('home/data')).exclusive(() => {})
      const { uid, gid, mode } = statSync(at('home/data.lock'))
      assert.deepEqual([uid, gid, mode & 0o777], [NOBODY, NOBODY, 0o600])
      const mate = await crew.process(stranger)
      await mate.call('acquire', at('home/data'))
      await mate.call('release')
    })

    it('also the file of those who wait', async () => {
      writeFileSync(at('data'), '')
      chownSync(at('data'), NOBODY, NOBODY)
      chmodSync(at(), 0o777)
      const mate = await crew.process(stranger)
      await mate.call('acquire', at('data'))
      const lock = new PsLock(at('data'))
      await lock.exclusive(() => {}, { timeoutMs: 60 }).catch(() => {})
      assert.equal(statSync(at('data.lock.turn')).uid, NOBODY)
      await mate.call('release')
    })
  })

  it("in a folder that a group shares a lock file is the group's before there is data, whatever the umask", async () => {
    mkdirSync(at('shared'))
    chownSync(at('shared'), 0, GROUP)
    chmodSync(at('shared'), 0o2770)
    chmodSync(at(), 0o755)
    const mates = [await crew.process(member), await crew.process({ uid: 12345, gid: GROUP })]
    const before = process.umask(0o077)
    try {
      await new PsLock(at('shared/data')).exclusive(() => {})
    } finally {
      process.umask(before)
    }
    assert.equal(statSync(at('shared/data.lock')).mode & 0o777, 0o660)
    await mates[0]!.call('acquire', at('shared/data'))
    assert.equal(await mates[1]!.call('tryAcquire', at('shared/data')), false)
  })

  it('data that was opened to others later opens its lock file with it', async () => {
    writeFileSync(at('data'), '')
    chmodSync(at('data'), 0o600)
    chmodSync(at(), 0o755)
    const first = new PsLock(at('data'))
    await first.exclusive(() => {})
    // Opened anew: after some seconds without use, too.
    await first.close()
    assert.equal(statSync(at('data.lock')).mode & 0o777, 0o600)
    chmodSync(at('data'), 0o644)
    await using lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    assert.equal(statSync(at('data.lock')).mode & 0o777, 0o644)
  })

  it('who is not of the group of the data makes a lock file of its own group, and all can use it', async () => {
    writeFileSync(at('data'), '')
    chownSync(at('data'), 0, GROUP)
    chmodSync(at('data'), 0o666)
    chmodSync(at(), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('data'))
    await mate.call('release')
    assert.equal(statSync(at('data.lock')).gid, NOBODY)
    await assertExclude(mate)
    await assertExclude(await crew.process(member))
  })

  it('a lock file that only its owner may read is refused to others, and lockPath helps', async () => {
    writeFileSync(at('data'), '')
    chmodSync(at('data'), 0o600)
    mkdirSync(at('locks'))
    chmodSync(at('locks'), 0o777)
    chmodSync(at(), 0o755)
    await new PsLock(at('data')).exclusive(() => {})
    const mate = await crew.process(stranger)
    await assert.rejects(mate.call('acquire', at('data')), { code: 'PSLOCK_IO', message: /lockPath/ })
    await mate.call('acquire', at('data'), { lockPath: at('locks/l') })
    assert.equal(new PsLock(at('data'), { lockPath: at('locks/l') }).tryAcquire(), undefined)
  })

  describe('a folder that may not be written', () => {
    const source = (name: string) => JSON.stringify(codeUrl(name))

    /** Runs as another user, with `report(promise)` printing what came of it. */
    function asStranger(script: string): string[] {
      const whole = `
        process.setgid(${NOBODY})
        process.setuid(${NOBODY})
        const report = (name, promise) => promise.then(
          (value) => console.log(name, JSON.stringify(value)),
          ({ code, message }) => console.log(name, code, message),
        )
        ${script}`
      const { stdout, stderr } = spawnSync(
        process.execPath,
        [...LOADER, '--input-type=module', '-e', whole, at('data')],
        { encoding: 'utf8' },
      )
      assert.equal(stderr, '')
      return stdout.trim().split('\n')
    }

    it('lowdb: readers read without a lock, and the error of a writer names lockPath', () => {
      writeFileSync(at('data'), '{"n":1}')
      chmodSync(at('data'), 0o666)
      chmodSync(at(), 0o555)
      const [read, write] = asStranger(`
        const { LockedJSONFilePreset } = await import(${source('adapters/lowdb')})
        const db = await LockedJSONFilePreset(process.argv[1], {})
        await report('read', Promise.resolve(db.data))
        await report('write', db.update((data) => { data.n = 2 }))`)
      assert.equal(read, 'read {"n":1}')
      assert.match(write ?? '', /^write PSLOCK_IO .*data\.lock.*lockPath/)
      assert.deepEqual(readdirSync(at()), ['data'])
    })

    it('nedb: readers read without a lock, and the error of a writer names lockPath', () => {
      writeFileSync(at('data'), '{"_id":"a","n":1}\n')
      chmodSync(at('data'), 0o666)
      chmodSync(at(), 0o555)
      const [read, write] = asStranger(`
        const { LockedNedb } = await import(${source('adapters/nedb')})
        const db = new LockedNedb({ filename: process.argv[1], autoload: true })
        await report('read', db.findOneAsync({}))
        await report('write', db.insertAsync({ _id: 'b' }))`)
      assert.equal(read, 'read {"_id":"a","n":1}')
      assert.match(write ?? '', /^write PSLOCK_IO .*data\.lock.*lockPath/)
      assert.deepEqual(readdirSync(at()), ['data'])
    })
  })
})
