// Reads an archive with DecompressionStream, as a web page would: the whole archive, and the manifest by its offset.
// Prints the digest of the whole tar stream, then the manifest.
import { readFileSync } from 'node:fs'
import { createHash } from 'node:crypto'

const inflate = async (bytes, format) => {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

const archive = readFileSync(process.argv[2])
const tar = await inflate(archive, 'gzip')
console.log(createHash('sha256').update(tar).digest('hex'))

const place = archive.subarray(10, 63).toString().match(/^debugbundle manifest (\d{16})\+(\d{12}) *$/)
const [from, length] = [Number(place[1]), Number(place[2])]
// A raw inflater requires a last block, so it gets an empty one.
const segment = new Uint8Array([...archive.subarray(from, from + length), 3, 0])
process.stdout.write(new TextDecoder().decode(await inflate(segment, 'deflate-raw')))
