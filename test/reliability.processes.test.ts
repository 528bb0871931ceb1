import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './fixtures/code.ts'

const page = readFileSync(join(ROOT, 'docs/reliability.md'), 'utf8')

describe('docs/reliability.md', () => {
  it('has a row for each law, and every test that it names is there', () => {
    assert.equal([...page.matchAll(/^\| \d+\. \*\*/gm)].length, 11)
    const named = [...page.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, name]) => name as string)
    assert.ok(named.length > 20)
    assert.deepEqual(
      named.filter((name) => !existsSync(join(ROOT, name))),
      [],
    )
  })

  it('has the figures of a full run', () => {
    const figures = /<!-- figures:start -->([\s\S]*)<!-- figures:end -->/.exec(page)?.[1] ?? ''
    for (const part of [
      'crash points, nedb',
      'crash points, lowdb',
      'failing calls',
      'power loss',
      'stress',
    ]) {
      assert.ok(figures.includes(part), `no figures of ${part}`)
    }
    assert.match(figures, /npm run reliability/)
  })
})
