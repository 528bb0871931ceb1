import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { LockedLow } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'
import { isStopped, stoppedBefore } from '../fixtures/stopped.ts'
import { killWhatIsLeft, PSLOCK, type Running, start, startPslock } from './run-pslock.ts'

/** `pslock copy` and `dump` to a file that others open as a store, or write to, before it is there. */
describe('pslock copy and dump to what is, or becomes, a store', () => {
  const at = useFolder()
  killWhatIsLeft()
  const open = (name: string) => new LockedNedb<{ _id: string }>({ filename: at(name), autoload: true })
  const ids = (name: string) =>
    [...readFileSync(at(name), 'utf8').matchAll(/"_id":"(\w+)"/g)].map(([, id]) => id)

  /** The command, stopped right before that call. */
  const stopped = async (call: string, ...args: string[]): Promise<Running> => {
    const { execArgv, env } = stoppedBefore(call)
    const running = start(process.execPath, [...execArgv, PSLOCK, ...args], { env })
    await isStopped(running.child.pid as number)
    return running
  }
  const goOn = ({ child, outcome }: Running) => {
    child.kill('SIGCONT')
    return outcome
  }

  beforeEach(() => writeFileSync(at('a.db'), '{"_id":"copied"}\n'))

  it('keeps what is written to a store that is opened before the copy gets its name', async () => {
    writeFileSync(at('b.db'), '')
    const copying = await stopped('name b.db', 'copy', at('a.db'), at('b.db'))
    const db = open('b.db')
    const written = db.insertAsync({ _id: 'inserted' })
    assert.ok(await staysPending(written, 200), 'it did not wait for the copy')
    assert.equal((await goOn(copying)).code, 0)
    await written
    await db.close()
    assert.deepEqual(ids('b.db').sort(), ['copied', 'inserted'])
  })

  for (const options of [[], ['--overwrite']]) {
    it(`${['copy', ...options].join(' ')}: looks whether it is empty when nobody writes to it any more`, async () => {
      writeFileSync(at('b.db'), '')
      const db = open('b.db')
      await db.countAsync({})
      let copying: Running | undefined
      await db.lock?.exclusive(async () => {
        copying = startPslock('copy', at('a.db'), at('b.db'), ...options)
        await until('it waits', () => db.lock?.holders().some(({ state }) => state === 'waiting'))
        await db.insertAsync({ _id: 'inserted' })
      })
      const { code, stderr } = await (copying as Running).outcome
      await db.close()
      if (options.length > 0) assert.deepEqual([code, ids('b.db')], [0, ['copied']])
      else {
        assert.match(stderr, /is there already \(EEXIST\)/)
        assert.deepEqual([code !== 0, ids('b.db')], [true, ['inserted']])
      }
    })
  }

  it('dump --overwrite: who changes what is replaced changes the dump', async () => {
    writeFileSync(at('a.json'), '{"from":"a"}')
    writeFileSync(at('b.json'), '{"from":"b"}')
    const dumping = await stopped('name b.json', 'dump', at('a.json'), at('b.json'), '--overwrite')
    const db = new LockedLow<{ from: string; changed?: true }>(at('b.json'), { from: '' })
    const written = db.update((data) => {
      data.changed = true
    })
    assert.ok(await staysPending(written, 200), 'it did not wait for the dump')
    assert.equal((await goOn(dumping)).code, 0)
    await written
    await db.close()
    assert.deepEqual(JSON.parse(readFileSync(at('b.json'), 'utf8')), { from: 'a', changed: true })
  })

  it('leaves no lock file that was not there before', async () => {
    for (const args of [['b.db'], ['b.db', '--overwrite'], ['c.db']]) {
      assert.equal(
        (await startPslock('dump', at('a.db'), at(args[0] as string), ...args.slice(1)).outcome).code,
        0,
      )
      assert.ok(!existsSync(at(`${args[0]}.lock`)))
    }
    assert.deepEqual(
      readdirSync(at()).filter((name) => name.includes('lock')),
      ['a.db.lock'],
    )
  })

  it('a dump without the lock has what was acknowledged before it began, though the journal is taken away meanwhile', async () => {
    const db = new LockedLow<{ n: number }>(at('a.json'), { n: 0 }, { journal: true })
    await db.update((data) => {
      data.n = 1
    })
    await db.update((data) => {
      data.n = 5
    })
    assert.ok(existsSync(at('a.json.journal')), 'nothing is in the journal')
    // No lock file can be made there.
    const dumping = await stopped('journal', 'dump', at('a.json'), at('b.json'), '--lock-path', '/sys/a.lock')
    await db.close()
    assert.ok(!existsSync(at('a.json.journal')), 'it is still there')
    const { code, stderr } = await goOn(dumping)
    assert.deepEqual([code, JSON.parse(readFileSync(at('b.json'), 'utf8'))], [0, { n: 5 }], stderr)
  })
})
