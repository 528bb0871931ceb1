import assert from 'node:assert/strict'
import type { Content } from '../../cli/stress/contents/content.ts'
import { readContent } from '../../cli/stress/contents/read.ts'
import { Findings } from '../../cli/stress/findings.ts'
import type { History } from '../../cli/stress/history.ts'
import { type Entry, readLedger } from '../../cli/stress/ledger.ts'
import { checkLinearizability } from '../../cli/stress/linearizability/check.ts'
import type { Operation } from '../../cli/stress/operation.ts'
import { asset } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'
import { RecordedRun } from './recorded-run.ts'

const UNREAD: Content = {
  unreadable: 'nobody looked',
  damaged: [],
  records: [],
  counters: new Map(),
  claims: [],
  registers: [],
  trail: undefined,
}

describe('the linearizability of a stress run', () => {
  const folder = useFolder()

  async function check(run: RecordedRun) {
    const findings = new Findings()
    const checked = checkLinearizability(run.histories, await readContent(run.store, run.path), findings)
    return { checked, messages: findings.first.map(({ message }) => message) }
  }

  for (const store of ['nedb', 'nedb-promises', 'lowdb'] as const) {
    it(`is there in a true run of ${store}, of every kind of key`, async () => {
      const { checked, messages } = await check(await RecordedRun.make(store, folder('data')))
      assert.deepEqual(messages, [])
      assert.ok(checked.histories >= 8 && checked.operations > 30, JSON.stringify(checked))
      assert.equal(checked.undecided, 0)
    })
  }

  /** The plan of both workers, who take turns: the second comes after the first in everything. */
  const PLAN: Operation[] = [
    { kind: 'increment', counter: 'counter-0' },
    { kind: 'readCounter', counter: 'counter-0' },
    { kind: 'writeRegister', register: 'register-0', value: 5 },
    { kind: 'readRegister', register: 'register-0' },
    { kind: 'compareAndSet', register: 'register-0', from: 5, to: 6 },
    { kind: 'insertKey', key: 'unique-0', value: 7 },
    { kind: 'readKey', key: 'unique-0' },
    { kind: 'deleteKey', key: 'unique-0' },
  ]
  const of = (kind: Operation['kind']) => (entry: Entry) => entry.operation.kind === kind

  for (const store of ['nedb', 'lowdb'] as const) {
    const lies: [kind: Operation['kind'], answer: Entry['answer'], why: RegExp][] = [
      [
        'increment',
        { said: 'done', value: 1 },
        /counter-0: two increments came to 1:.*worker 0, operation 0.*worker 1, operation 0/s,
      ],
      [
        'readCounter',
        { said: 'done', value: 1 },
        /counter-0: read 1, and had ended|counter-0: came to 2, and had ended/,
      ],
      ['readRegister', { said: 'done', value: 6 }, /register-0: it saw what nobody had written/],
      [
        'compareAndSet',
        { said: 'done', value: 1 },
        /register-0: it saw what had been overwritten.*compare and set from 5 to 6 done true.*worker 1/s,
      ],
      ['insertKey', { said: 'done' }, /unique-0: no order.*compare and set from -1 to 7 done true/s],
      [
        'readKey',
        { said: 'done', value: -1 },
        /unique-0: no order.*read value -1, from [\d.]+ ms to [\d.]+ ms/s,
      ],
      [
        'deleteKey',
        { said: 'done', value: 1 },
        /unique-0: no order.*delete done true.*worker 1, operation 7: delete done true/s,
      ],
    ]
    for (const [kind, answer, why] of lies) {
      it(`of ${store} is missed where a worker was told something else: ${kind}`, async () => {
        const run = await RecordedRun.make(store, folder('data'), [PLAN, PLAN])
        assert.deepEqual((await check(run)).messages, [])
        run.retold(1, of(kind), { answer: answer as NonNullable<Entry['answer']> })
        const { messages } = await check(run)
        assert.equal(messages.length, 1)
        assert.match(messages[0] as string, why)
      })
    }
  }

  it('of what a killed worker did not hear may be there or not', async () => {
    const plan = PLAN.slice(0, 3)
    const run = await RecordedRun.make('nedb', folder('data'), [plan, plan])
    run.killed(1)
    assert.deepEqual((await check(run)).messages, [])
  })

  it('is missed in a run without a lock that was recorded, which names the shortest part with its times', () => {
    const histories = [0, 1, 2].map((worker): History => {
      const path = asset(`unlocked-run/ledger-${worker}.jsonl`)
      return { worker, entries: readLedger(path), ended: 'finished' }
    })
    const findings = new Findings()
    const checked = checkLinearizability(histories, UNREAD, findings)
    note(`${findings.counts.notLinearizable} of ${checked.histories} keys, ${checked.operations} operations`)
    assert.ok(findings.counts.notLinearizable >= 5)
    for (const { message } of findings.first) {
      const named = message.split('\n').slice(1)
      assert.ok(named.length >= 1 && named.length <= 4, message)
      for (const line of named)
        assert.match(line, /worker \d, operation \d+: .*, from [\d.]+ ms to [\d.]+ ms$/)
    }
    const kinds = findings.first.map(({ record }) => record?.replace(/-.*/, ''))
    assert.deepEqual([...new Set(kinds)].sort(), ['counter', 'register', 'unique'])
  })
})
