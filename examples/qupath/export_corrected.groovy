/* Sends the annotations of the project that is open back: a GeoJSON file for each slide of a wsi-idc output folder.
 *
 * Say below where the results are and into which folder to write, and run it once, or from a shell:
 *   QuPath script export_corrected.groovy --project PROJECT/project.qpproj --args OUT --args CORRECTED
 *
 * Writes CORRECTED/<slide>.geojson for each OUT/<slide> whose slide is in the project: all annotations as they are saved,
 * or as they are shown of the image that is open. A slide of which all regions were deleted gives a file without any. Of
 * which slide they are is kept from the run, so that they are refused on another one. No file is overwritten. Then
 *   wsi-idc compare OUT CORRECTED -o agreement
 *   wsi-idc data from-annotations SLIDE CORRECTED/<slide>.geojson -o patches
 *
 * Written for QuPath 0.5 and later.
 */
import com.google.gson.JsonParser
import java.nio.file.Files
import qupath.lib.io.PathIO
import static qupath.lib.scripting.QP.*

def given = binding.hasVariable('args') && args ? args as List : []
def results = given ? given[0] : 'WHERE/THE/RESULTS/ARE'
def target = new File(given.size() > 1 ? given[1] : 'WHERE/TO/WRITE')

def json = { File file -> JsonParser.parseString(file.getText('UTF-8')).getAsJsonObject() }
def runs = (new File(results).listFiles() ?: []).findAll { new File(it, 'regions.geojson').isFile() && new File(it, 'summary.json').isFile() }
def project = getProject()
if (project == null || runs.isEmpty()) {
    println(project == null ? 'open a project first' : "${results}: holds no results of wsi-idc; say where they are")
    return
}
target.mkdirs()

def nameOf = { entry -> new File(entry.getURIs().first().getPath()).getName() }
runs.sort { it.name }.each { run ->
    def name = json(new File(run, 'summary.json')).getAsJsonObject('slide').get('slide').getAsString()
    def entries = project.getImageList().findAll { nameOf(it) == name }
    def file = new File(target, run.name + '.geojson')
    if (entries.size() != 1) {
        println "${run.name}: ${entries.size()} images of the project are called ${name}; left out"
        return
    }
    if (file.exists()) {
        println "${file}: is there already; remove it or write into another folder"
        return
    }
    def shown = entries[0] == getProjectEntry()
    def hierarchy = shown ? getCurrentImageData().getHierarchy() : entries[0].readHierarchy()
    def annotations = hierarchy.getAnnotationObjects()
    def part = new File(target, '.' + file.name + '.part.geojson')
    PathIO.exportObjectsAsGeoJSON(part, annotations, PathIO.GeoJsonExportOptions.FEATURE_COLLECTION)
    def written = json(part)
    def origin = json(new File(run, 'regions.geojson')).get('wsi_idc')
    if (origin != null) written.add('wsi_idc', origin)
    part.setText(written.toString(), 'UTF-8')
    Files.move(part.toPath(), file.toPath())
    println "${run.name}: ${annotations.size()} annotations -> ${file}"
}
