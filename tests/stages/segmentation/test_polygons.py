import json
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from skimage.measure import label, regionprops

from imgprep.io import rasters
from imgprep.stages.segmentation import polygons


def save(path, labels, **more):
    options = {"driver": "GTiff", "width": labels.shape[1], "height": labels.shape[0], "count": 1, "dtype": "int32"}
    options |= {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasters.gdal(), rasterio.open(path, "w", **options, **more) as out:
        out.write(labels.astype(np.int32), 1)
    return str(path)


def noise(size_wh=(150, 130), share=0.45, connectivity=1):
    return label(np.random.default_rng(0).random(size_wh[::-1]) < share, connectivity=connectivity)


def written(tmp_path, labels, **more):
    n = polygons.write_objects(save(tmp_path / "labels.tif", labels, **more), str(tmp_path / "objects"))
    found = pq.read_table(tmp_path / "objects.parquet")
    assert n == found.num_rows
    (text,) = tmp_path.glob("objects*.geojson")
    return found, json.loads(text.read_text())


@pytest.mark.parametrize("side", [37, 64, 1024])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_objects_are_what_scikit_image_measures(tmp_path, monkeypatch, side, connectivity):
    monkeypatch.setattr(polygons, "OUTLINED_PX", side)
    labels = noise(connectivity=connectivity)
    found, _ = written(tmp_path, labels)
    rows, want = found.to_pylist(), regionprops(labels)
    assert [r["id"] for r in rows] == [p.label for p in want] and [r["area"] for r in rows] == [p.area for p in want]
    for row, p in zip(rows, want, strict=True):
        top, left, bottom, right = p.bbox
        assert row["bbox"] == [left, top, right - left, bottom - top]
        assert row["centroid"] == pytest.approx(p.centroid[::-1])


@pytest.mark.parametrize("side", [37, 64, 1024])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_polygons_cover_the_pixels_of_their_object_and_no_other(tmp_path, monkeypatch, side, connectivity):
    monkeypatch.setattr(polygons, "OUTLINED_PX", side)
    labels = noise(connectivity=connectivity)
    found, geojson = written(tmp_path, labels)
    outlines = shapely.from_wkb(found["polygon"].to_pylist())
    assert shapely.is_valid(outlines).all()
    assert np.array_equal(shapely.area(outlines), found["area"].to_numpy())
    shown = [(shapely.geometry.shape(f["geometry"]), f["id"]) for f in geojson["features"]]
    for drawn in (zip(outlines, found["id"].to_pylist(), strict=True), shown):
        again = rasterio.features.rasterize(drawn, labels.shape, dtype="int32")
        assert np.array_equal(again, labels)
    assert geojson["coordinates"] == "pixels, y down"


def test_the_windows_leave_no_trace(tmp_path, monkeypatch):
    labels = noise(connectivity=2)
    labels[40:120, 20:30] = labels[110:120, 20:140] = labels.max() + 1  # over many windows
    files = []
    for side in (33, 64, 1024):
        monkeypatch.setattr(polygons, "OUTLINED_PX", side)
        found, _ = written(tmp_path, labels)
        files.append((found.drop_columns(["polygon"]), found["polygon"].to_pylist()))
    assert files[0] == files[1] == files[2]
    one = shapely.from_wkb(files[0][1][-1])
    assert len(shapely.get_coordinates(one)) == sum(map(len, [shapely.get_coordinates(one.simplify(0))]))


def test_pieces_left_unmerged_would_show(tmp_path, monkeypatch):
    labels = np.zeros((100, 100), int)
    labels[10:90, 10:90] = 1
    labels[45:55, 45:55] = 0
    monkeypatch.setattr(polygons, "OUTLINED_PX", 50)
    found, _ = written(tmp_path, labels)
    (outline,) = shapely.from_wkb(found["polygon"].to_pylist())
    ring = shapely.Polygon([(10, 10), (90, 10), (90, 90), (10, 90)], [[(45, 45), (55, 45), (55, 55), (45, 55)]])
    assert outline.normalize().equals_exact(ring.normalize()) and len(outline.exterior.coords) == 5


def test_on_earth_the_geojson_is_in_degrees_and_the_table_in_pixels(tmp_path):
    labels = np.zeros((60, 80), int)
    labels[10:20, 30:50] = 7
    found, geojson = written(tmp_path, labels, crs="EPSG:32633", transform=from_origin(500_000, 5_000_000, 10, 10))
    (outline,) = shapely.from_wkb(found["polygon"].to_pylist())
    assert outline.bounds == (30, 10, 50, 20) and geojson["coordinates"].startswith("WGS 84")
    (feature,) = geojson["features"]
    shown = shapely.geometry.shape(feature["geometry"])
    assert shown.exterior.is_ccw and feature["properties"] == {"id": 7, "area": 200}
    # Zone 33 has its central meridian, and with it x = 500,000, at 15 degrees east.
    west, south, east, north = shown.bounds
    assert west == pytest.approx(15 + 300 / 78_846, abs=1e-4) and north == pytest.approx(
        45.1538 - 100 / 111_132, abs=5e-4
    )
    xs, ys = rasterio.warp.transform("EPSG:4326", "EPSG:32633", [west, east], [north, south])
    assert xs == pytest.approx([500_300, 500_500], abs=0.1) and ys == pytest.approx([4_999_900, 4_999_800], abs=0.1)


def test_coordinates_that_are_not_of_the_earth_stay_pixels(tmp_path):
    labels = np.zeros((60, 80), int)
    labels[10:20, 30:50] = 1
    house = rasterio.CRS.from_wkt('LOCAL_CS["a house",UNIT["metre",1]]')
    _, geojson = written(tmp_path, labels, crs=house, transform=from_origin(0, 60, 1, 1))
    assert geojson["coordinates"] == "pixels, y down"
    assert shapely.geometry.shape(geojson["features"][0]["geometry"]).bounds == (30, 10, 50, 20)


def test_a_picture_without_objects_gives_empty_files(tmp_path):
    found, geojson = written(tmp_path, np.zeros((70, 90), int))
    assert found.num_rows == 0 and geojson["features"] == [] and found.schema.names == polygons.SCHEMA.names


def test_noise_is_drawn_in_seconds(tmp_path):
    labels = noise((700, 600), 0.59, connectivity=2)  # one object has most of the pixels, in thousands of pieces
    began = time.process_time()
    written(tmp_path, labels)
    assert time.process_time() - began < 10  # the union of all pieces took 22 s


MARS = """GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190.0,169.894447]],
    PRIMEM["Reference_Meridian",0],UNIT["Degree",0.0174532925199433]]"""


def square(size_hw=(60, 80)):
    labels = np.zeros(size_hw, int)
    labels[10:20, 30:50] = 1
    return labels


def test_a_scene_of_mars_has_its_own_coordinates_and_a_geojson_in_pixels(tmp_path):
    mars = rasterio.CRS.from_wkt(MARS)
    found, geojson = written(tmp_path, square(), crs=mars, transform=from_origin(137, -4, 0.01, 0.01))
    assert geojson["coordinates"] == "pixels, y down" and (tmp_path / "objects.pixels.geojson").exists()
    assert shapely.geometry.shape(geojson["features"][0]["geometry"]).bounds == (30, 10, 50, 20)
    (outline,) = shapely.from_wkb(found["geometry"].to_pylist())
    assert outline.bounds == pytest.approx((137.3, -4.2, 137.5, -4.1))


def test_the_table_names_the_crs_of_its_scene(tmp_path):
    found, _ = written(tmp_path, square(), crs="EPSG:32633", transform=from_origin(500_000, 5_000_000, 10, 10))
    geo = json.loads(pq.read_schema(tmp_path / "objects.parquet").metadata[b"geo"])
    assert geo["primary_column"] == "geometry" and geo["columns"]["polygon"]["crs"] is None
    assert geo["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    (outline,) = shapely.from_wkb(found["geometry"].to_pylist())
    assert outline.bounds == (500_300, 4_999_800, 500_500, 4_999_900)
    assert (tmp_path / "objects.geojson").exists() and not (tmp_path / "objects.pixels.geojson").exists()


def test_without_a_place_the_names_say_pixels(tmp_path):
    found, _ = written(tmp_path, square())
    assert (tmp_path / "objects.pixels.geojson").exists() and found.schema.names == polygons.SCHEMA.names


def test_what_lies_beyond_the_rim_of_the_earth_has_no_geometry(tmp_path):
    """A full disk of a weather satellite: its corners are sky."""
    disk = rasterio.CRS.from_string("+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=GRS80")
    labels = np.zeros((110, 110), int)
    labels[2:6, 2:6], labels[50:60, 50:60] = 1, 2
    found, geojson = written(tmp_path, labels, crs=disk, transform=from_origin(-5.5e6, 5.5e6, 1e5, 1e5))
    sky, earth = geojson["features"]
    assert sky["geometry"] is None and abs(earth["geometry"]["coordinates"][0][0][0]) < 10
    assert len(shapely.from_wkb(found["geometry"].to_pylist())) == 2
