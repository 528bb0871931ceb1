import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './fixtures/code.ts'

const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')
const section =
  /^## Compared with other locks\n[\s\S]*?(?=^## |(?![\s\S]))/m.exec(read('docs/comparison.md'))?.[0] ?? ''

describe('the comparison with other locks', () => {
  const cited = [...section.matchAll(/^(.+): (test\/\S+) "(.+)"$/gm)].map(([, row, file, title]) => ({
    row: row as string,
    file: file as string,
    title: title as string,
  }))

  for (const { row, file, title } of cited) {
    it(`${row}: there is such a test: ${title}`, () => {
      const source = read(file)
      const quoted = file.endsWith('.sh') ? [title] : [`it('${title}'`, `it("${title}"`]
      assert.ok(
        quoted.some((text) => source.includes(text)),
        `${file} has no test "${title}"`,
      )
    })
  }

  it('every row has a test', () => {
    const rows = [...section.split('\n\n')[1]!.matchAll(/^\| ([^|]*?) \|/gm)].map(
      ([, name]) => name as string,
    )
    assert.ok(rows.length >= 8, `rows: ${rows.join(', ')}`)
    assert.deepEqual([...new Set(cited.map(({ row }) => row))], rows)
  })
})
